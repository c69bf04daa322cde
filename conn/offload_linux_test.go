package conn

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/internal/offload"

	"golang.org/x/sys/unix"
)

// Kernels known to damage what they segment, by name as distributions have it.
func TestKernelsThatDamageGSO(t *testing.T) {
	for release, want := range map[string]bool{
		"7.0.0": true, "7.0.0-15-generic": true, "7.0.2-6-pve": true, "7.0.99": true, "7.1.0-rc3": true, "7.0-custom": true, "7.1.4-arch1-1": true,
		"7.1.5": false, "7.1.5-200.fc45.x86_64": false, "7.2.0": false, "7.10.0": false, "70.0.0": false,
		"6.18.44": false, "6.17.0-41-generic": false, "8.0.1": false, "": false, "seven": false, "7": false,
	} {
		if got := damagesGSO(release); got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
}

// On such a kernel GSO is off by itself, and on again where the user insists.
// What an option has turned off stays so.
func TestGSOOfADamagingKernel(t *testing.T) {
	sys := kernel
	sys.release = func() string { return "7.0.3-test" }
	for _, c := range []struct {
		opts Options
		why  string
	}{{Options{}, offload.Broken}, {Options{ForceGSO: true}, ""}, {Options{NoGSO: true}, offload.Option}, {Options{NoGSO: true, ForceGSO: true}, offload.Option}} {
		s, err := (&linuxNetwork{opts: c.opts, sys: &sys}).Listen(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range s.(*linuxSockets).Offloads() {
			if want := (offload.State{Where: o.Where, Name: "gso", On: c.why == "", Why: c.why}); o.Name == "gso" && o != want {
				t.Errorf("%+v: %+v", c.opts, o)
			}
		}
		s.Close()
	}
}

// A refusal is tried again after a minute, and at once when routes change, and
// the states say what is off, since when and why.
func TestGovernorForgives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g governor
		a, b := peer1.Remote.Addr(), peer2.Remote.Addr()
		start := time.Now().UTC()
		g.fault(unix.EMSGSIZE, b)
		g.fault(unix.EINVAL, a)
		if want := []offload.State{
			{Where: "udp4", Name: "gso", On: true},
			{Where: "udp4", Name: "gso", To: a.String(), Why: "EINVAL", Since: start},
			{Where: "udp4", Name: "gso", To: b.String(), Why: "EMSGSIZE", Since: start},
		}; !slices.Equal(g.states("udp4"), want) {
			t.Errorf("%+v", g.states("udp4"))
		}
		time.Sleep(offload.Retry)
		if !g.allows(a) || !g.allows(b) || len(g.states("udp4")) != 1 {
			t.Errorf("after a minute: %+v", g.states("udp4"))
		}
		g.fault(unix.EMSGSIZE, a)
		if first, _ := g.fault(unix.EIO, a); !first || g.allows(b) {
			t.Errorf("EIO: new %v, others allowed %v", first, g.allows(b))
		}
		time.Sleep(offload.Retry)
		if !g.allows(b) {
			t.Error("after EIO never tried again")
		}
		if first, _ := g.fault(unix.EIO, a); first {
			t.Error("the second of two refusals is new: it would be logged every minute")
		}
		g.fault(unix.EMSGSIZE, a)
		g.forgive()
		if !g.allows(a) || len(g.states("udp4")) != 1 {
			t.Errorf("forgiven: %+v", g.states("udp4"))
		}
	})
}

// Every announced change of routes, and every change of the mark, gives GSO
// another chance.
func TestRouteChangeForgives(t *testing.T) {
	k := &fakeKernel{rule: func(m sentMessage) unix.Errno {
		if m.segment != 0 {
			return unix.EIO
		}
		return 0
	}}
	s := k.listen(t)
	for i, change := range []func(){func() {}, s.routes.changed, func() { s.SetMark(0) }} {
		change()
		runs := []Run{{Data: payload(300), Segment: 100, To: peer1}, {Data: payload(300), Segment: 100, To: peer1}}
		if s.Send(runs); runs[0].Err != nil || runs[1].Err != nil {
			t.Fatal(runs)
		}
		if st := s.Stats(); s.v4.gso.On() || st.Sent != uint64(6*(i+1)) || st.GSOFallbacks != uint64(2*(i+1)) {
			t.Errorf("after %d changes: GSO on %v, %+v", i, s.v4.gso.On(), st)
		}
	}
	before := s.Stats().GSOFallbacks // two at a time: both messages were built when the first was refused
	if s.Send([]Run{{Data: payload(300), Segment: 100, To: peer1}}); s.Stats().GSOFallbacks != before {
		t.Error("tried again though nothing has changed")
	}
}
