//go:build linux

package nstest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func ExampleParseFlags() {
	for _, args := range [][]string{{"-seconds", "3"}, {"-frobnicate"}, {"-help"}} {
		f := flag.NewFlagSet("tool", flag.ContinueOnError)
		seconds := f.Int("seconds", 2, "how long, in `seconds`")
		err := ParseFlags(f, args, "tool [flags]", "status: 0 good, 2 usage\n")
		fmt.Println(*seconds, err)
	}
	// Output:
	// 3 <nil>
	// 2 flag provided but not defined: -frobnicate
	// usage: tool [flags]
	//   -seconds seconds
	//     	how long, in seconds (default 2)
	// status: 0 good, 2 usage
	// 2 flag: help requested
}

// What is to be written hours later is tried first, and nothing is left of that.
func TestWritable(t *testing.T) {
	dir := t.TempDir()
	there, missing, nowhere := filepath.Join(dir, "there"), filepath.Join(dir, "missing"), filepath.Join(dir, "no", "where")
	if err := os.WriteFile(there, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Writable("", there, missing); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("it was made: %v", err)
	}
	for _, bad := range []string{nowhere, dir} {
		if Writable(there, bad) == nil {
			t.Errorf("%s can be written", bad)
		}
	}
}
