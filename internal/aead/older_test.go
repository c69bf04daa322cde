package aead

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// x/crypto 0.52 dropped the assembly for processors without AVX2 (among them
// Intel's Atom line up to 2023, common in routers), which makes them several
// times slower: GODEBUG=cpu.avx2=off go test -bench 1424. So it is held at
// 0.51 until it is back, or until this package has code of its own.
func TestOlderProcessorsHaveAssembly(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/crypto/chacha20poly1305").Output()
	if err != nil {
		t.Skip("needs the go command and the sources:", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "chacha20poly1305_amd64.go"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), "if !cpu.X86.HasSSSE3 {") != 2 {
		t.Error("this golang.org/x/crypto has no assembly for amd64 without AVX2: see above")
	}
}
