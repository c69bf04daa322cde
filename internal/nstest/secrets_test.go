//go:build linux

package nstest

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A key in the output of a program fails its lab, whatever part of it and in whatever form; wg(8) may show keys.
func TestKeysInOutput(t *testing.T) {
	keys, psk := NewKeys(), NewPSK()
	raw := func(text string) []byte {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		script string
		leaks  bool
	}{
		"nothing":            {"echo hello", false},
		"a public key":       {"echo " + keys.Public, false},
		"a private key":      {"echo " + keys.Private, true},
		"part of it":         {"echo ..." + psk[20:], true},
		"in hexadecimal":     {"echo psk=" + hex.EncodeToString(raw(psk)) + " >&2", true},
		"half of it":         {"echo " + hex.EncodeToString(raw(psk))[:32], true},
		"as it is":           {"echo " + psk + " | base64 -d", true},
		"by who may show it": {"wg", false},
	} {
		l := lab(t)
		n, err := l.Namespace("any")
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"sh", "-c", c.script}
		if c.script == "wg" {
			wg := filepath.Join(l.Dir, "wg")
			if err := os.WriteFile(wg, []byte("#!/bin/sh\necho "+psk+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			args = []string{wg}
		}
		if _, err := n.Run(args...); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); (err != nil) != c.leaks || err != nil && !strings.Contains(err.Error(), "key is in its output") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
