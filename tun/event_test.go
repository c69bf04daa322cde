package tun_test

import (
	"testing"
	"time"

	"culvert/tun"
)

// patience bounds the wait for a kernel that is busy; tests do not depend on it.
const patience = 20 * time.Second

func wantEvent(t *testing.T, d tun.Device, want tun.Event) {
	t.Helper()
	select {
	case got := <-d.Events():
		if got != want {
			t.Fatalf("event %+v, want %+v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("no event, want %+v", want)
	}
}

var (
	up      = tun.Event{Kind: tun.Up}
	down    = tun.Event{Kind: tun.Down}
	deleted = tun.Event{Kind: tun.Deleted}
)

func mtu(n int) tun.Event { return tun.Event{Kind: tun.MTUChanged, MTU: n} }
