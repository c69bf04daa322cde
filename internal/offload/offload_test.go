package offload

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

// What was refused is off for Retry, is tried again, and says since when it has
// been refused without end.
func TestSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Switch
		want := func(on bool, why string, since time.Time) {
			t.Helper()
			if got := s.State("tun", "x"); s.On() != on || got != (State{Where: "tun", Name: "x", On: on, Why: why, Since: since}) {
				t.Errorf("%s: %+v, on %v", time.Now(), got, s.On())
			}
		}
		never := time.Time{}
		start := time.Now().UTC()
		want(true, "", never)
		if !s.Refuse("EIO") {
			t.Error("the first refusal is not new")
		}
		want(false, "EIO", start)
		time.Sleep(Retry - 1)
		want(false, "EIO", start)
		time.Sleep(time.Nanosecond)
		want(true, "", never) // tried again
		if s.Refuse("EINVAL") {
			t.Error("refused again is new")
		}
		want(false, "EINVAL", start)
		time.Sleep(2 * Retry)
		want(true, "", never)
		if s.refused.Load() != nil {
			t.Error("the refusal is never forgotten: every use reads the clock")
		}
		if !s.Refuse("EIO") {
			t.Error("after a good while a refusal is not new")
		}
		want(false, "EIO", time.Now().UTC())
		s.Forgive()
		want(true, "", never)
		s.Forbid(Option)
		want(false, Option, never)
		s.Forgive()
		want(false, Option, never)
	})
}

func TestStateString(t *testing.T) {
	since := time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)
	for want, s := range map[string]State{
		"udp4 gro: on":        {Where: "udp4", Name: "gro", On: true},
		"tun x: off (option)": {Where: "tun", Name: "x", Why: Option},
		"udp6 gso to ::1: off since 2026-11-20T01:02:03Z (EMSGSIZE)": {Where: "udp6", Name: "gso", To: "::1", Why: "EMSGSIZE", Since: since},
	} {
		if got := s.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestStateJSON(t *testing.T) {
	since := time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)
	for want, s := range map[string]State{
		`{"where":"udp4","name":"gro","on":true}`:                                                        {Where: "udp4", Name: "gro", On: true},
		`{"where":"tun","name":"x","on":false,"why":"option"}`:                                           {Where: "tun", Name: "x", Why: Option},
		`{"where":"udp6","name":"gso","to":"::1","on":false,"why":"EIO","since":"2026-11-20T01:02:03Z"}`: {Where: "udp6", Name: "gso", To: "::1", Why: "EIO", Since: since},
	} {
		if b, err := json.Marshal(s); err != nil || string(b) != want {
			t.Errorf("%s, %v; want %s", b, err, want)
		}
	}
}
