package main

import (
	"testing"

	"github.com/alecthomas/kong"
)

// Every flag has an environment variable, as wg-quick(8) passes no flags.
func TestEveryFlagHasAVariable(t *testing.T) {
	parser, err := kong.New(new(options), kong.Vars{"version": "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range parser.Model.Flags {
		if f.Name != "help" && f.Name != "version" && len(f.Envs) == 0 {
			t.Errorf("--%s has none", f.Name)
		}
	}
}

// The switches for kernels and cards with faults reach the sockets.
func TestOffloadsCanBeTurnedOff(t *testing.T) {
	for _, c := range []struct {
		variable string
		gso, gro bool
	}{{"CULVERT_NO_GSO", true, false}, {"CULVERT_NO_GRO", false, true}, {"CULVERT_NO_USO", false, false}} {
		t.Run(c.variable, func(t *testing.T) {
			t.Setenv(c.variable, "1")
			o, err := parse([]string{"wg0"})
			if err != nil {
				t.Fatal(err)
			}
			if got := networkOptions(&o, nil); got.NoGSO != c.gso || got.NoGRO != c.gro {
				t.Errorf("%+v", got)
			}
		})
	}
}
