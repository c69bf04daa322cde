// Package arch has only tests: they hold the architecture. Which package may
// import which, that the pure packages are pure, and that every goroutine is
// known (ARCHITECTURE.md tells why).
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the name in go.mod.
const module = "culvert"

// source is one Go file, of whatever GOOS; tests are not looked at.
type source struct {
	pkg  string // import path without the module's name: "device/session"
	path string // from the module's root, with slashes
	ast  *ast.File
	fset *token.FileSet
}

// at is a place for messages.
func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// imports are the paths s imports.
func (s *source) imports() (paths []string) {
	for _, spec := range s.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// nameOf is what s calls the package path; "" if it does not import it.
func (s *source) nameOf(path string) string {
	for _, spec := range s.ast.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p != path {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return strings.TrimSuffix(path, "/v2")[strings.LastIndex(strings.TrimSuffix(path, "/v2"), "/")+1:]
	}
	return ""
}

// parse makes a source of text; for the module's files and for the tests of
// the checks.
func parse(t testing.TB, path, text string) *source {
	t.Helper()
	var src any
	file := path
	if text != "" {
		src = text
	} else {
		file = filepath.Join("..", "..", filepath.FromSlash(path))
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	pkg := path[:max(0, strings.LastIndex(path, "/"))]
	return &source{pkg: pkg, path: path, ast: f, fset: fset}
}

// load parses every file of the module but tests.
func load(t testing.TB) (files []*source) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files = append(files, parse(t, filepath.ToSlash(rel), ""))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files: is this the module?", len(files))
	}
	return files
}
