//go:build linux

package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"culvert/device/config"
	"culvert/internal/nstest"
)

const (
	settle  = time.Second // after a request, for what it leaves to do
	changes = 20          // peers added, and removed, one by one
)

// size is what so many idle peers cost.
type size struct {
	Program      string  `json:"program"`
	Peers        int     `json:"peers"`
	SetSeconds   float64 `json:"set_seconds"`
	PeersPerS    float64 `json:"set_peers_per_s"`
	BytesPerPeer float64 `json:"rss_bytes_per_peer"`
	GetSeconds   float64 `json:"get_seconds"`
	AddMicros    float64 `json:"add_us"`    // one among them, the median
	RemoveMicros float64 `json:"remove_us"` // likewise
	IdlePercent  float64 `json:"idle_cpu_percent"`
	IdleSeconds  float64 `json:"idle_seconds"` // that it was idle for
	Memory       []part  `json:"memory,omitempty"`
	SetMicros    float64 `json:"set_cpu_us_per_peer"`
}

// someone is an idle peer. Any 32 bytes are a public key.
func someone(r *rand.Rand, i int) peer {
	var p peer
	for at := 0; at < len(p.key); at += 8 {
		binary.LittleEndian.PutUint64(p.key[at:], r.Uint64())
	}
	n := uint32(i + 2)
	var inner, outer [4]byte
	binary.BigEndian.PutUint32(inner[:], 100<<24|64<<16+n)
	binary.BigEndian.PutUint32(outer[:], 127<<24|64<<16+n)
	p.inner, p.endpoint = netip.AddrFrom4(inner), netip.AddrPortFrom(netip.AddrFrom4(outer), uint16(1024+i%60000))
	return p
}

// measureSize measures a program with n idle peers, that are left alone for so long.
func measureSize(p nstest.Program, n int, idle time.Duration) (s size, err error) {
	lab, h, err := start(p)
	if err != nil {
		return s, err
	}
	defer lab.Close()
	u, err := dial(h.WG)
	if err != nil {
		return s, err
	}
	defer u.close()
	s = size{Program: p.Name, Peers: n}
	pid, r := h.Daemon.PID, rand.New(rand.NewPCG(uint64(n), 1))
	before := rss(pid)
	if err := s.set(u, pid, r); err != nil {
		return s, fmt.Errorf("setting: %w", err)
	}
	time.Sleep(settle)
	s.BytesPerPeer, s.Memory = float64(rss(pid)-before)/float64(n), ask(h).Memory
	if err := s.idle(pid, idle); err != nil {
		return s, err
	}
	if err := s.change(u, r); err != nil {
		return s, err
	}
	begin := time.Now()
	got, err := u.peers()
	if err == nil && got != n {
		err = fmt.Errorf("it has %d peers", got)
	}
	s.GetSeconds = time.Since(begin).Seconds()
	if err != nil {
		return s, fmt.Errorf("getting: %w", err)
	}
	u.close()
	return s, lab.Close()
}

// idle leaves the daemon alone.
func (s *size) idle(pid int, length time.Duration) error {
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	begin := time.Now()
	time.Sleep(length)
	after, err := cpu(pid)
	s.IdleSeconds = time.Since(begin).Seconds()
	s.IdlePercent = 100 * (after - before).Seconds() / s.IdleSeconds
	return err
}

// set sets all in one request.
func (s *size) set(u *uapi, pid int, r *rand.Rand) error {
	idle, err := cpu(pid)
	if err != nil {
		return err
	}
	begin := time.Now()
	u.putInterface(config.PrivateKey{1}, port)
	for i := range s.Peers {
		u.putPeer(someone(r, i))
	}
	if err := u.set(); err != nil {
		return err
	}
	s.SetSeconds = time.Since(begin).Seconds()
	s.PeersPerS = float64(s.Peers) / s.SetSeconds
	used, err := cpu(pid)
	s.SetMicros = perEvent(used-idle, 0, 0, int64(s.Peers))
	return err
}

// change adds and removes peers one by one.
func (s *size) change(u *uapi, r *rand.Rand) error {
	var add, remove []time.Duration
	request := func(put func()) (time.Duration, error) {
		begin := time.Now()
		u.put("set=1\n")
		put()
		err := u.set()
		return time.Since(begin), err
	}
	for i := range changes {
		one := someone(r, s.Peers+i)
		took, err := request(func() { u.putPeer(one) })
		if err != nil {
			return fmt.Errorf("adding a peer: %w", err)
		}
		add = append(add, took)
		if took, err = request(func() { u.removePeer(one.key) }); err != nil {
			return fmt.Errorf("removing a peer: %w", err)
		}
		remove = append(remove, took)
	}
	s.AddMicros, s.RemoveMicros = micros(median(add)), micros(median(remove))
	return nil
}

// median is the middle one, or the later of the two middle ones; all has some.
func median[T cmp.Ordered](all []T) T { return slices.Sorted(slices.Values(all))[len(all)/2] }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
