package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"culvert/conn"
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
		want     conn.Options
	}{
		{"CULVERT_NO_GSO", conn.Options{NoGSO: true}}, {"CULVERT_FORCE_GSO", conn.Options{ForceGSO: true}},
		{"CULVERT_NO_GRO", conn.Options{NoGRO: true}}, {"CULVERT_NO_USO", conn.Options{}},
	} {
		t.Run(c.variable, func(t *testing.T) {
			t.Setenv(c.variable, "1")
			o, err := parse([]string{"wg0"})
			if err != nil {
				t.Fatal(err)
			}
			c.want.Queues = 1
			if got := networkOptions(&o, nil); got != c.want {
				t.Errorf("%+v", got)
			}
		})
	}
}
