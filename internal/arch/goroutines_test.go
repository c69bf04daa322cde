package arch

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goroutines are the go statements outside package device, by file and
// function, and why each ends. Those of package device are in the table of
// device/doc.go, by the name of the function they run.
//
// Tests and tools (the top layer) are not looked at: their goroutines end
// with their process.
var goroutines = map[string]string{
	"cmd/culvert/serve.go:serve":            "cycles the log level on a signal; ends with the process",
	"conn/netlink_linux.go:startRouteWatch": "ends when close closes its netlink socket and done, and is waited for",
	"ipc/server.go:Serve":                   "accepts; ends when Close closes the listener, and is waited for",
	"ipc/server.go:Server.start":            "one conversation; ends with its client or when Close closes the connection, and is waited for",
	"ipc/watch.go:watch.start":              "watches the socket's file; ends when it is gone or at close, and is waited for",
	"tun/adapter.go:Adapt":                  "translates events; ends when the foreign device's Close closes them, and is waited for",
	"tun/device_linux.go:linuxDevice.start": "watches the link; ends at Close, and is waited for",
	"tun/watch_linux.go:watcher.run":        "stops the listening at Close; ends with Close or with run, which closes stop",
}

// start is a place where a goroutine starts: a go statement, or a method Go
// (sync.WaitGroup and the like).
type start struct {
	where string // file:function
	line  string // for messages
	calls []string
}

// starts finds them in s.
func starts(s *source) (found []start) {
	for _, d := range s.ast.Decls {
		name := "var"
		if f, ok := d.(*ast.FuncDecl); ok {
			name = f.Name.Name
			if f.Recv != nil {
				name = receiver(f.Recv.List[0].Type) + "." + name
			}
		}
		ast.Inspect(d, func(n ast.Node) bool {
			var run ast.Node
			switch n := n.(type) {
			case *ast.GoStmt:
				run = n.Call
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Go" && len(n.Args) == 1 {
					run = n.Args[0]
				}
			}
			if run != nil {
				found = append(found, start{s.path + ":" + name, s.at(n), called(run)})
			}
			return true
		})
	}
	return found
}

// receiver is the name of a receiver's type.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return "?"
}

// called are the names of the functions in run.
func called(run ast.Node) (names []string) {
	ast.Inspect(run, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			names = append(names, n.Sel.Name)
		case *ast.Ident:
			names = append(names, n.Name)
		}
		return true
	})
	return names
}

// checkGoroutines wants each start of files in one of the two tables, and
// nothing more in table.
func checkGoroutines(files []*source, doc string, table map[string]string) (wrong []string) {
	used := map[string]bool{}
	for _, s := range files {
		if line, ok := layer(s.pkg); ok && line == 0 {
			continue
		}
		for _, g := range starts(s) {
			if s.pkg == "device" {
				if !slices.ContainsFunc(g.calls, func(name string) bool { return inTable(doc, name) }) {
					wrong = append(wrong, g.line+": a goroutine that is not in the table of device/doc.go")
				}
				continue
			}
			used[g.where] = true
			if table[g.where] == "" {
				wrong = append(wrong, g.line+": a goroutine that is not in the table: "+g.where)
			}
		}
	}
	for where := range table {
		if !used[where] {
			wrong = append(wrong, where+": is in the table but starts no goroutine")
		}
	}
	return wrong
}

// inTable looks for "(name)", "(type.name)" or a list of them in the table.
func inTable(table, name string) bool {
	ok, _ := regexp.MatchString(`\([^)]*\b`+regexp.QuoteMeta(name)+`\b[^)]*\)`, table)
	return ok
}

// tableOf is the section Goroutines of a package's documentation.
func tableOf(s *source) string {
	_, rest, _ := strings.Cut(s.ast.Doc.Text(), "# Goroutines")
	table, _, _ := strings.Cut(rest, "\n#")
	return table
}

func TestGoroutines(t *testing.T) {
	files := load(t)
	doc := tableOf(parse(t, "device/doc.go", ""))
	if doc == "" {
		t.Fatal("device/doc.go has no section Goroutines")
	}
	wrong := checkGoroutines(files, doc, goroutines)
	slices.Sort(wrong)
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestGoroutinesCheckFails(t *testing.T) {
	const doc = "controller 1 ends last (controller.run)\nsender ends when dry (runSender, runReceiver)\n"
	table := map[string]string{"tun/a.go:Device.Start": "ends with the device"}
	for _, c := range []struct {
		path, text string
		wrong      int
	}{
		{"device/a.go", "func f() { go c.run() }", 1},
		{"device/a.go", "func f() { go c.other() }", 2},
		{"device/a.go", "func f() { wg.Go(func() { d.runReceiver(p) }) }", 1},
		{"device/a.go", "func f() { wg.Go(d.lost) }", 2},
		{"tun/a.go", "func (d *Device) Start() { go func() {}() }", 0},
		{"tun/a.go", "func (d *Device) Start() { wg.Go(d.x) }", 0},
		{"tun/a.go", "func (d *Device) Else() { go func() {}() }", 2},
		{"tun/b.go", "func (d *Device) Start() { go func() {}() }", 2},
		{"internal/demo/a.go", "func f() { go g() }", 1},
		{"tun/a.go", "var x = func() { go f() }", 2},
	} {
		s := parse(t, c.path, "package p\n"+c.text)
		// One is the entry of the table that is not used.
		if got := checkGoroutines([]*source{s}, doc, table); len(got) != c.wrong {
			t.Errorf("%s %s: %q, want %d", c.path, c.text, got, c.wrong)
		}
	}
}
