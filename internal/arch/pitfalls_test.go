package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that docs/pitfalls.md names exist. Its rows are
//
//	| fault | what we do | `package` TestOne, TestTwo/part; `other` TestThree |
//
// where part is a word of the package's tests or part of the name of a file in
// its testdata.

// pitfalls gives the rows of the table in text: cells without blanks around.
func pitfalls(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| fault |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

var (
	testList = regexp.MustCompile("^`([a-z0-9/]+)` (Test|Fuzz)")
	testName = regexp.MustCompile(`^((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/(\S+))?$`)
)

// checkPitfall says what is wrong with the last cell of a row; find gives the
// text of all tests of a package and the names of its testdata.
func checkPitfall(cell string, find func(pkg string) (tests, data string)) (wrong []string) {
	for part := range strings.SplitSeq(cell, "; ") {
		m := testList.FindStringSubmatch(part)
		if m == nil {
			wrong = append(wrong, part+": no package and test")
			continue
		}
		tests, data := find(m[1])
		_, names, _ := strings.Cut(part, " ")
		for name := range strings.SplitSeq(names, ", ") {
			n := testName.FindStringSubmatch(name)
			switch {
			case n == nil:
				wrong = append(wrong, name+": no name of a test")
			case !strings.Contains(tests, "\nfunc "+n[1]+"("):
				wrong = append(wrong, m[1]+" has no "+n[1])
			case !strings.Contains(tests, n[2]) && !strings.Contains(data, n[2]):
				wrong = append(wrong, m[1]+" has nothing called "+n[2])
			}
		}
	}
	return wrong
}

// testsOf reads the tests of a package.
func testsOf(t *testing.T) func(pkg string) (tests, data string) {
	return func(pkg string) (tests, data string) {
		dir := filepath.Join("..", "..", filepath.FromSlash(pkg))
		files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			tests += "\n" + string(b)
		}
		for _, depth := range []string{"*", "*/*"} {
			names, _ := filepath.Glob(filepath.Join(dir, "testdata", depth))
			data += strings.Join(names, "\n")
		}
		return tests, data
	}
}

func TestPitfalls(t *testing.T) {
	text, err := os.ReadFile("../../docs/pitfalls.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := pitfalls(string(text))
	if len(rows) < 50 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, cells := range rows {
		if len(cells) != 3 {
			t.Errorf("%q has %d cells", cells[0], len(cells))
			continue
		}
		for _, w := range checkPitfall(cells[2], testsOf(t)) {
			t.Errorf("%s: %s", cells[0], w)
		}
	}
}

func TestPitfallsCheckFails(t *testing.T) {
	find := func(string) (tests, data string) {
		return "package x\nfunc TestThere(t *testing.T) { t.Run(\"word\", nil) }", "testdata/07-T3.txt"
	}
	for cell, wrong := range map[string]int{
		"`conn` TestThere": 0, "`conn` TestThere/word, TestThere/07-T3; `tun` TestThere": 0,
		"": 1, "TestThere": 1, "`conn`": 1, "`conn` TestNot": 1, "`conn` TestThere, TestNot; `tun` TestThe": 2, "`conn` TestThere/other": 1, "`conn` TestThere and so on": 1,
	} {
		if got := checkPitfall(cell, find); len(got) != wrong {
			t.Errorf("%q: %q", cell, got)
		}
	}
}

// The umask belongs to the whole process: what is made meanwhile by anybody
// would have it.
func TestNobodyChangesTheUmask(t *testing.T) {
	for _, s := range load(t) {
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Umask" {
				t.Errorf("%s changes the umask", s.at(n))
			}
			return true
		})
	}
}
