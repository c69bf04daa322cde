package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that SECURITY.md names for its claims exist.

var namedTest = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z0-9_]*\b`)

// missing are the tests named in text that are not among the functions of tests.
func missing(text, tests string) (names []string) {
	for _, name := range namedTest.FindAllString(text, -1) {
		if !strings.Contains(tests, "\nfunc "+name+"(") {
			names = append(names, name)
		}
	}
	return names
}

func TestSecurityNamesTests(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		tests.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(namedTest.FindAll(text, -1)); n < 30 {
		t.Errorf("SECURITY.md names %d tests only", n)
	}
	for _, name := range missing(string(text), tests.String()) {
		t.Errorf("SECURITY.md names %s, which is no test", name)
	}
	if got := missing("`noise` TestOne, TestTwo/part; `ipc` FuzzThree", "\nfunc TestOne(t *testing.T) {\nfunc FuzzFour("); len(got) != 2 {
		t.Errorf("missing are %q", got)
	}
}
