package x25519

import (
	"math/big"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

func init() {
	if supported() {
		ways["lanes"] = func(products []Product) {
			for len(products) > 0 {
				n := min(lanes, len(products))
				multiplyLanes(products[:n])
				products = products[n:]
			}
		}
	}
}

func needKernel(t *testing.T) {
	if !supported() {
		t.Skip("needs AVX-512 IFMA")
	}
}

// factorLimit is what limbs of factors are below (gen/field.go).
const factorLimit = 1<<51 + 1<<16

// number is a lane of e.
func (e *element) number(lane int) *big.Int {
	n := new(big.Int)
	for i := 4; i >= 0; i-- {
		n.Lsh(n, 51)
		n.Add(n, new(big.Int).SetUint64(e[i][lane]))
	}
	return n.Mod(n, prime)
}

// within reports whether e can be a factor.
func (e *element) within() bool {
	for _, limb := range e {
		for _, x := range limb {
			if x >= factorLimit {
				return false
			}
		}
	}
	return true
}

// Products and squares of limbs that are as large as they may be, or anything.
func TestField(t *testing.T) {
	needKernel(t)
	r := rand.New(rand.NewPCG(1, 2))
	limb := func() uint64 {
		switch r.IntN(4) {
		case 0:
			return factorLimit - 1
		case 1:
			return uint64(r.IntN(2))
		case 2:
			return 1<<51 - uint64(r.IntN(20))
		}
		return r.Uint64N(factorLimit)
	}
	for range 2000 {
		var a, b, product, squares element
		for i := range 5 {
			for lane := range lanes {
				a[i][lane], b[i][lane] = limb(), limb()
			}
		}
		multiply(&product, &a, &b)
		square(&squares, &a, 2)
		if !product.within() || !squares.within() {
			t.Fatalf("%x or %x may not be factors", product, squares)
		}
		for lane := range lanes {
			x, y := a.number(lane), b.number(lane)
			want := new(big.Int).Mul(x, y)
			if want.Mod(want, prime); product.number(lane).Cmp(want) != 0 {
				t.Fatalf("%x * %x is %x, not %x", x, y, product.number(lane), want)
			}
			want.Exp(x, big.NewInt(4), prime)
			if squares.number(lane).Cmp(want) != 0 {
				t.Fatalf("%x^4 is %x, not %x", x, squares.number(lane), want)
			}
		}
	}
}

// What comes out of a lane is below p, whatever the limbs.
func TestGet(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20000 {
		var w work
		lane := i % lanes
		for j := range 5 {
			w.x2[j][lane] = 1<<51 - 1 - r.Uint64N(1<<(i%51))*uint64(r.IntN(2))
			if r.IntN(8) == 0 {
				w.x2[j][lane] = factorLimit - 1 - uint64(r.IntN(20))
			}
		}
		if i < 60 {
			w.x2[0][lane] = 1<<51 - 40 + uint64(i) // around p
		}
		want := w.x2.number(lane)
		var got key
		w.get(lane, &got)
		for j := range 16 {
			got[j], got[31-j] = got[31-j], got[j]
		}
		if new(big.Int).SetBytes(got[:]).Cmp(want) != 0 {
			t.Fatalf("%x, not %x", got, want)
		}
	}
}

// After a call there is nothing of a key in its memory.
func TestWiped(t *testing.T) {
	needKernel(t)
	private, public, to := clamped(key{1}), key{9}, key{}
	multiplyLanes([]Product{{&private, &public, &to}})
	found := false
	for i := range works {
		if w := works[i].Load(); w != nil {
			found = true
			if *w != (work{}) {
				t.Error("something is left")
			}
		}
	}
	if !found {
		t.Error("no memory was kept")
	}
}

// No branch and no address of the kernel depends on a secret: those are made of general
// registers, which are loaded from arguments and constants only. A masked instruction
// takes the same time whatever the mask, so the mask may be secret. Nothing is written
// behind work.
func TestNothingDependsOnSecrets(t *testing.T) {
	text, err := os.ReadFile("kernel_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	const gp = `(AX|BX|CX|DX|SI|DI|BP|R\d+)`
	public := regexp.MustCompile(`^(` + strings.Join([]string{
		`MOVQ (\w+\+\d+\(FP\)|\$0x[0-9a-f]+), ` + gp,
		`LEAQ \d*\(` + gp + `\), ` + gp,
		`SUBQ \$0x[0-9a-f]+, ` + gp, `DECQ ` + gp, `CMPQ ` + gp + `, ` + gp,
		`(JNZ|JB|JMP) \w+`, `RET`,
	}, `|`) + `)$`)
	vector := regexp.MustCompile(`^V(MOVDQ[AU]64|P(ADD|SUB|AND|XOR|BROADCAST|SLL|SRL)Q|PMADD52[LH]UQ|PMOVQ2M) .*(, (Z\d+|K1)|, \d*\(` + gp + `\))$`)
	reaches := regexp.MustCompile(`(\d+)\(` + gp + `\)`)
	indexed := regexp.MustCompile(`\([XYZ]\d+\*\d\)`) // a gather or scatter
	label := regexp.MustCompile(`^\w+:$`)
	code, end := 0, 0
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "//")
		f := strings.Fields(line)
		ins := strings.Join(f, " ")
		if len(f) == 0 || strings.HasPrefix(ins, "#") || f[0] == "DATA" || f[0] == "GLOBL" || f[0] == "TEXT" || label.MatchString(ins) {
			continue
		}
		code++
		if m := reaches.FindStringSubmatch(ins); m != nil {
			at, _ := strconv.Atoi(m[1])
			end = max(end, at+64)
		}
		if ins != "VZEROALL" && !public.MatchString(ins) && (!vector.MatchString(ins) || indexed.MatchString(ins)) {
			t.Errorf("%s: may make an address or a branch of a secret", ins)
		}
	}
	if code < 1500 {
		t.Errorf("%d instructions seen", code)
	}
	if size := unsafe.Sizeof(work{}); end != int(size) {
		t.Errorf("the kernel uses %d bytes of the %d that work has", end, size)
	}
}
