package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"culvert/internal/aead"
	"culvert/tun"
)

// fuzzFlags are flags and their variables.
var fuzzFlags = []struct{ flag, variable string }{
	{"--foreground", "WG_PROCESS_FOREGROUND"}, {"--log-level", "LOG_LEVEL"}, {"--mtu", "CULVERT_MTU"},
	{"--memory", "CULVERT_MEMORY"}, {"--workers", "CULVERT_WORKERS"}, {"--aead", "CULVERT_AEAD"},
	{"--queues", "CULVERT_QUEUES"}, {"--state-dir", "CULVERT_STATE_DIR"}, {"--state-dir", "STATE_DIRECTORY"},
	{"--no-gso", "CULVERT_NO_GSO"}, {"--force-gso", "CULVERT_FORCE_GSO"}, {"--no-gro", "CULVERT_NO_GRO"},
	{"--no-tso", "CULVERT_NO_TSO"}, {"--no-uso", "CULVERT_NO_USO"},
	{"--tun-fd", "WG_TUN_FD"}, {"--uapi-fd", "WG_UAPI_FD"}, {"--tun-name-file", "WG_TUN_NAME_FILE"},
}

// FuzzOptions reads command lines and environments. Its laws: a flag and its variable
// mean the same, and are refused for the same values; what is taken is within the
// bounds that --help and culvert(8) tell.
func FuzzOptions(f *testing.F) {
	for i := range fuzzFlags {
		for _, value := range []string{"", "1", "true", "-1", "-2", "3", "65536", "4294967299", "0x10", "debug", "avx2", "/tmp/x", "1e3", " 7", "\xff"} {
			f.Add(uint8(i), value, "wg0", uint8(i), value)
		}
	}
	f.Add(uint8(6), "2", "wg%d", uint8(3), "8")
	f.Add(uint8(6), "2", "wg0", uint8(14), "5")
	f.Add(uint8(6), "3", "wg0", uint8(3), "11")
	f.Add(uint8(0), "1", "sixteen-letters!", uint8(0), "1")
	f.Add(uint8(14), "5", "wg0", uint8(15), "5")
	f.Add(uint8(0), "no", "a/b", uint8(9), "yes")
	f.Fuzz(func(t *testing.T, i uint8, value, name string, j uint8, other string) {
		if strings.Contains(value+other, "\x00") || strings.HasPrefix(name, "-") { // no environment has it; another flag
			t.Skip()
		}
		defer aead.Use("")
		first, second := fuzzFlags[int(i)%len(fuzzFlags)], fuzzFlags[int(j)%len(fuzzFlags)]
		if first.flag == second.flag && first != second { // which of two variables wins is not said
			t.Skip()
		}
		args := []string{name}
		for k, v := range map[string]string{first.flag: value, second.flag: other} {
			if v != "" { // an empty variable is none
				args = append(args, k+"="+v)
			}
		}
		if first == second && value != other {
			t.Skip()
		}
		byFlag, flagErr := parse(args)
		for _, x := range fuzzFlags {
			t.Setenv(x.variable, "")
		}
		t.Setenv(first.variable, value)
		t.Setenv(second.variable, other)
		byVariable, variableErr := parse([]string{name})
		if (flagErr == nil) != (variableErr == nil) {
			t.Fatalf("%q: %v; as variables: %v", args, flagErr, variableErr)
		}
		if flagErr != nil {
			return
		}
		byFlag.level.name, byVariable.level.name = "", ""
		if fmt.Sprint(byFlag) != fmt.Sprint(byVariable) {
			t.Fatalf("%q mean %+v; as variables %+v", args, byFlag, byVariable)
		}
		if why := outOfBounds(&byFlag); why != "" {
			t.Fatalf("%q are taken: %s", args, why)
		}
	})
}

// outOfBounds is what is wrong with options, by the manual.
func outOfBounds(o *options) string {
	in := func(n, from, to int) bool { return from <= n && n <= to }
	switch {
	case len(o.Interface) < 1 || len(o.Interface) > 15 || strings.ContainsAny(o.Interface, "/: \t\n\x00") || o.Interface == "." || o.Interface == "..":
		return "the name"
	case o.MTU != 0 && !in(o.MTU, 68, 65535):
		return "the MTU"
	case !in(o.Queues, 1, tun.MaxQueues):
		return "the queues"
	case o.Memory != 0 && !in(o.Memory, 4*o.Queues, 1<<20):
		return "the memory"
	case !in(o.Workers, -1, 1024):
		return "the workers"
	case !in(o.TunFD, -1, 1<<31-1) || !in(o.UAPIFD, -1, 1<<31-1):
		return "a descriptor"
	case o.TunFD >= 0 && (o.Queues > 1 || o.TunFD == o.UAPIFD):
		return "the descriptor of the interface"
	case o.StateDir != "" && !strings.HasPrefix(o.StateDir, "/"):
		return "the directory"
	}
	return ""
}

// FuzzHandover reads what may be in CULVERT_BACKGROUND. Its law: what is taken is, to
// the last byte, what daemonize would write for it.
func FuzzHandover(f *testing.F) {
	for _, s := range []string{"", "3,-1,-1", "3,4,5", "3,4,5,6", "3,3,4", "3,4", "4,5,4", "2,-1,-1", "3,-1,2", "2147483648,-1,-1", "3,-1,4", "3,4,4", "03,4,5", "3,4,5 ", "4294967299,-1,-1", "3,٤,5", "3,--1,-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		n, ok := parseHandover(value)
		if !ok {
			return
		}
		var words []string
		for i, fd := range n {
			if fd < -1 || fd > 1<<31-1 || i == 0 && fd < 3 || fd >= 0 && fd < 3 {
				t.Fatalf("%q hands over %d", value, fd)
			}
			words = append(words, strconv.Itoa(fd))
		}
		if written := strings.Join(words, ","); written != value {
			t.Fatalf("%q is read as %q", value, written)
		}
		if n[0] == n[1] || n[0] == n[2] || n[1] >= 0 && n[1] == n[2] {
			t.Fatalf("%q hands over one descriptor twice", value)
		}
	})
}
