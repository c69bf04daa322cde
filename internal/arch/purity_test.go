package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// pure packages do no I/O, start no goroutine, take no lock and read no clock:
// "now" and randomness are handed to them.
var pure = []string{"noise", "timers", "ratelimiter", "device/session", "device/config", "internal/cryptobench"}

// impure are imports a pure package must not have ("net/netip" is a value).
var impure = []string{
	"net", "net/*", "os", "os/*", "io/fs", "sync", "sync/*", "syscall", "unsafe", "context",
	"runtime", "log", "log/*", "crypto/rand", "golang.org/x/sys/*",
}

// clockReaders are the functions of package time that read or wait for a clock.
var clockReaders = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

// seeded are the names of math/rand and math/rand/v2 that are not the global
// generator.
var seeded = []string{"New", "NewSource", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "Source", "PCG", "ChaCha8", "Zipf"}

// checkPurity finds what a pure file must not do.
func checkPurity(s *source) (wrong []string) {
	add := func(n ast.Node, format string, args ...any) {
		wrong = append(wrong, s.at(n)+": "+fmt.Sprintf(format, args...))
	}
	for _, p := range s.imports() {
		if p != "net/netip" && contains(impure, p) {
			wrong = append(wrong, s.path+": imports "+p)
		}
	}
	clock := s.nameOf("time")
	rands := []string{s.nameOf("math/rand"), s.nameOf("math/rand/v2")}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			add(n, "go statement")
		case *ast.ChanType:
			add(n, "channel")
		case *ast.SendStmt, *ast.SelectStmt:
			add(n, "channel operation")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				add(n, "channel operation")
			}
		case *ast.SelectorExpr:
			switch pkg, ok := n.X.(*ast.Ident); {
			case !ok || pkg.Name == "":
			case pkg.Name == clock && slices.Contains(clockReaders, n.Sel.Name):
				add(n, "time.%s", n.Sel.Name)
			case slices.Contains(rands, pkg.Name) && !slices.Contains(seeded, n.Sel.Name):
				add(n, "rand.%s uses the global generator", n.Sel.Name)
			}
		}
		return true
	})
	return wrong
}

func TestPurity(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range load(t) {
		if !slices.Contains(pure, s.pkg) {
			continue
		}
		seen[s.pkg] = true
		for _, w := range checkPurity(s) {
			t.Error(w)
		}
	}
	for _, p := range pure {
		if !seen[p] {
			t.Errorf("there is no package %s", p)
		}
	}
}

func TestPurityCheckFails(t *testing.T) {
	for _, c := range []struct {
		text  string
		wrong bool
	}{
		{`import "net/netip"`, false},
		{`import "net"`, true},
		{`import "net/http"`, true},
		{`import "os"`, true},
		{`import "sync"`, true},
		{`import "sync/atomic"`, true},
		{`import "syscall"`, true},
		{`import "unsafe"`, true},
		{`import "crypto/rand"`, true},
		{`import "golang.org/x/sys/unix"`, true},
		{`import "time"; var d = time.Second; func f(t time.Time) { t.After(t) }`, false},
		{`import "time"; var d = time.Now`, true},
		{`import "time"; func f() { time.Sleep(1) }`, true},
		{`import clock "time"; var d = clock.NewTimer(1)`, true},
		{`import "time"; var d = time.Since`, true},
		{`import "time"; var d = time.After(1)`, true},
		{`func f() { go f() }`, true},
		{`var c chan int`, true},
		{`func f() { select {} }`, true},
		{`func f(g func() T) { <-g() }`, true},
		{`import "math/rand/v2"; var r = rand.New(rand.NewPCG(1, 2))`, false},
		{`import "math/rand/v2"; var r = rand.IntN(3)`, true},
		{`import "math/rand"; var r = rand.Int()`, true},
	} {
		s := parse(t, "timers/x.go", "package p\n"+c.text)
		if got := checkPurity(s); (len(got) > 0) != c.wrong {
			t.Errorf("%s: %v, want wrong: %v", c.text, got, c.wrong)
		}
	}
}
