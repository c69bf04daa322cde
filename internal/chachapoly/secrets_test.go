package chachapoly

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// No branch and no address of the kernels depends on a secret. Secrets are in
// vector registers and in what is loaded to them, and never come to a general
// register, which is what branches and addresses are made of: there is no
// instruction that would bring them there, and general registers are loaded from
// the arguments and from arrays of pointers only. A masked instruction takes the same
// time whatever the mask, so masks may be secret.
func TestNothingDependsOnSecrets(t *testing.T) {
	text, err := os.ReadFile("kernels_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	const gp = `(AX|BX|CX|DX|SI|DI|BP|R\d+)`
	const imm = `\$0x[0-9a-f]+`
	const arg = `\w+\+\d+\(FP\)`
	public := regexp.MustCompile(`^(` + strings.Join([]string{
		`MOV(Q|L|BLZX|LQZX) ` + arg + `, ` + gp,
		`MOVQ ` + imm + `, ` + gp,
		`LEAQ \d*\(` + gp + `\)(\(` + gp + `\*\d\))?, ` + gp,
		`(ADDQ|SUBQ|SHRQ) ` + imm + `, ` + gp,
		`DECQ ` + gp, `(XORQ|TESTQ) ` + gp + `, ` + gp,
		`(JZ|JNZ|JG) \w+`, `RET`,
	}, `|`) + `)$`)
	pointer := regexp.MustCompile(`^MOVQ (\d*)\(` + gp + `\), ` + gp + `$`)
	toVector := regexp.MustCompile(`^(VMOVD|VMOVQ|KMOVW|KMOVQ) ` + gp + `, [XK]\d+$`)
	toGeneral := regexp.MustCompile(`, ` + gp + `$`)
	indexed := regexp.MustCompile(`\([XYZ]\d+\*\d\)`) // a gather or scatter
	flags := regexp.MustCompile(`^V(PTEST|TESTP[SD]|U?COMI\w+) `)
	table := regexp.MustCompile(`^MOVQ (p|l)\+\d+\(FP\), ` + gp + `$`)
	inTable := regexp.MustCompile(`^LEAQ 576\(` + gp + `\)\(` + gp + `\*8\), ` + gp + `$`)
	label := regexp.MustCompile(`^\w+:$`)

	function, pointers := "", []string(nil)
	code := 0
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "//")
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") || f[0] == "DATA" || f[0] == "GLOBL" || label.MatchString(strings.TrimSpace(line)) {
			continue
		}
		if f[0] == "TEXT" {
			function, pointers = f[1], nil
			continue
		}
		code++
		ins := strings.Join(f, " ")
		// Arrays of pointers are the argument p, and dst within l.
		if m := table.FindStringSubmatch(ins); m != nil {
			pointers = append(pointers, m[2])
		}
		if m := inTable.FindStringSubmatch(ins); m != nil {
			pointers = append(pointers, m[3])
		}
		switch m := pointer.FindStringSubmatch(ins); {
		case public.MatchString(ins), toVector.MatchString(ins):
		case m != nil && slices.Contains(pointers, m[2]):
			if at, _ := strconv.Atoi(m[1]); at >= 960 { // behind dst, in the scratch of l
				t.Errorf("%s: %s: is not a pointer", function, ins)
			}
		case strings.HasPrefix(ins, "V") && !flags.MatchString(ins) && !toGeneral.MatchString(ins) && !indexed.MatchString(ins):
		case strings.HasPrefix(ins, "KMOVQ ") && strings.HasSuffix(ins, ", K1"):
		default:
			t.Errorf("%s: %s: may make an address or a branch of a secret", function, ins)
		}
	}
	if code < 2000 {
		t.Errorf("%d instructions seen", code)
	}
}
