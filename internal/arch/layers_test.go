package arch

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

// layers are the packages from top to bottom; one imports only what is in a
// lower line. internal/* that is not named is at the bottom; a package that
// is missing has to be put in.
var layers = [][]string{
	{"internal/arch", "internal/chachapoly/gen", "internal/x25519/gen", "internal/bench", "internal/bench/floor", "internal/scale", "internal/soak", "internal/load", "internal/demo", "internal/e2e", "internal/nstest", "internal/memscan", "internal/sim"}, // tests and tools
	{"cmd/culvert"},
	{"ipc", "device"},
	{"device/session", "device/routes", "conn", "tun", "internal/statefile"},
	{"noise", "timers", "ratelimiter", "internal/cryptobench"},
	{"internal/aead"},
	{"internal/scrub"},
	{"device/config", "internal/*"},
}

// parts are packages that may import their parent, and stand in its line.
var parts = []string{"tun/netstack"}

// only narrows what a package may import of this module further.
var only = map[string][]string{
	"ipc":           {"device/config", "internal/*"}, // text <-> values; it knows no device
	"device/config": {},                              // a leaf
	"device/routes": {"device/config", "internal/*"},
	"timers":        {"internal/clock"},
	"ratelimiter":   {"internal/clock"},

	"internal/cryptobench": {"internal/aead"},
}

// kit is a package for tests, beside the interface it fakes: tun/tuntest.
func kit(pkg string) bool { return strings.HasSuffix(pkg, "test") }

// layer is the line of pkg; false if it has none.
func layer(pkg string) (int, bool) {
	if kit(pkg) && pkg != "internal/nstest" || contains(parts, pkg) {
		pkg = path.Dir(pkg)
	}
	for i, line := range layers {
		if contains(line, pkg) {
			return i, true
		}
	}
	return 0, false
}

// contains matches pkg or its last element with patterns.
func contains(patterns []string, pkg string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, pkg); ok {
			return true
		}
	}
	return false
}

// checkLayers finds the arrows that point up.
func checkLayers(files []*source) (wrong []string) {
	for _, s := range files {
		from, ok := layer(s.pkg)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: package %s is in no layer", s.path, s.pkg))
			continue
		}
		for _, imp := range s.imports() {
			if to, ours := strings.CutPrefix(imp, module+"/"); ours {
				if why := arrow(s.pkg, from, to); why != "" {
					wrong = append(wrong, fmt.Sprintf("%s imports %s: %s", s.path, to, why))
				}
			}
		}
	}
	return wrong
}

// arrow says what is wrong with an import; "" if nothing.
func arrow(pkg string, from int, to string) string {
	down, ok := layer(to)
	allowed, narrow := only[pkg]
	child := (kit(pkg) || contains(parts, pkg)) && path.Dir(pkg) == to
	switch {
	case !ok:
		return "it is in no layer"
	case kit(to) && !kit(pkg) && from != 0:
		return "it is for tests"
	case narrow && !contains(allowed, to):
		return "not allowed for this package"
	case down <= from && from != 0 && !child:
		return "it is not in a lower layer"
	}
	return ""
}

func TestLayers(t *testing.T) {
	for _, w := range checkLayers(load(t)) {
		t.Error(w)
	}
}

func TestLayersCheckFails(t *testing.T) {
	for _, c := range []struct {
		path, imports string
		wrong         bool
	}{
		{"cmd/culvert/main.go", "device", false},
		{"device/device.go", "device/session", false},
		{"device/device.go", "cmd/culvert", true},
		{"device/device.go", "ipc", true}, // beside it
		{"device/session/machine.go", "device", true},
		{"device/session/machine.go", "device/routes", true},
		{"noise/cookie.go", "conn", true},
		{"noise/cookie.go", "internal/aead", false},
		{"timers/wheel.go", "device/config", true},
		{"internal/cryptobench/work.go", "internal/aead", false},
		{"internal/cryptobench/work.go", "internal/chachapoly", true},
		{"internal/aead/aead.go", "internal/cryptobench", true},
		{"ipc/codec.go", "device/config", false},
		{"ipc/codec.go", "device", true},
		{"ipc/codec.go", "noise", true},
		{"internal/clock/clock.go", "device/config", true},
		{"device/config/keys.go", "internal/clock", true},
		{"tun/tuntest/fake.go", "tun", false},
		{"tun/tuntest/fake.go", "device", true},
		{"tun/netstack/stack.go", "tun", false},
		{"tun/tun.go", "tun/netstack", true},
		{"device/device.go", "tun/tuntest", true},
		{"internal/bench/main.go", "internal/nstest", false},
		{"device/device.go", "internal/nstest", true},
		{"somewhere/new.go", "device", true},
		{"device/device.go", "somewhere", true},
	} {
		s := parse(t, c.path, fmt.Sprintf("package p\nimport _ %q\n", module+"/"+c.imports))
		if got := checkLayers([]*source{s}); (len(got) > 0) != c.wrong {
			t.Errorf("%s imports %s: %v, want wrong: %v", c.path, c.imports, got, c.wrong)
		}
	}
}
