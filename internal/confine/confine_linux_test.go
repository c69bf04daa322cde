//go:build amd64 || arm64

package confine

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// newPlan makes the directories and files of attempts.
func newPlan(t *testing.T) plan {
	t.Helper()
	p := plan{Dir: t.TempDir(), Victim: startVictim(t)}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.Victim))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(maps), "%x-", &p.Address); err != nil {
		t.Fatal(err)
	}
	p.Options = Options{
		Keep:      []string{"cap_net_admin", "cap_net_bind_service"},
		RemoveIn:  []string{filepath.Join(p.Dir, "sockets")},
		ReplaceIn: []string{filepath.Join(p.Dir, "state")},
	}
	for _, dir := range []string{"sockets", "state", "mount"} {
		if err := os.Mkdir(filepath.Join(p.Dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"there", "state/there"} {
		touch(t, filepath.Join(p.Dir, file))
	}
	for _, name := range []string{"remove1", "remove2", "remove3", "remove4"} {
		touch(t, filepath.Join(p.Dir, "sockets", name))
		touch(t, filepath.Join(p.Dir, "state", name))
	}
	return p
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Not confined, each attempt succeeds: it is worth something.
func TestAttemptsFree(t *testing.T) {
	needRoot(t)
	p := newPlan(t)
	for _, a := range attempts {
		if !slices.Contains(alone, a.name) {
			p.Names = append(p.Names, a.name)
		}
	}
	got := try(t, p)
	for _, name := range alone {
		p.Names = []string{name}
		maps.Copy(got, try(t, p))
	}
	for _, a := range attempts {
		switch free := got[a.name]; {
		case a.name == "run a program" && len(free) == 0: // then there is nobody to tell
		case slices.Equal(free, []string{done, done}):
		case a.lacking:
			t.Logf("%s: this kernel or container lacks it: %q", a.name, free)
		default:
			t.Errorf("%s: %q", a.name, free)
		}
	}
}

// Confined, each ends as it should, on a thread that was there before and one that
// came later. EACCES is Landlock's answer, the others are there without it.
func TestAttemptsConfined(t *testing.T) {
	needRoot(t)
	version, why := probe()
	if version == 0 {
		t.Log("nothing refuses files: no Landlock: ", why)
	}
	survivors := newPlan(t)
	survivors.Confine = true
	for _, a := range attempts {
		if a.want == "EACCES" && version == 0 {
			continue
		}
		if a.want != killed {
			survivors.Names = append(survivors.Names, a.name)
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			p := newPlan(t)
			p.Confine, p.Names = true, []string{a.name}
			if got := try(t, p)[a.name]; !slices.Equal(got, []string{killed}) {
				t.Errorf("%q", got)
			}
		})
	}
	got := try(t, survivors)
	for _, name := range survivors.Names {
		if want := find(name).want; !slices.Equal(got[name], []string{want, want}) {
			t.Errorf("%s: %q, want %s", name, got[name], want)
		}
	}
}
