//go:build linux

package main

import (
	"testing"
	"time"

	"culvert/internal/nstest"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-tests", "tcp1,udp64", "a=/bin/false -x", "wireguard-go=/bin/false"})
	if err != nil || len(o.tests) != 2 || len(o.programs) != 2 || len(o.programs[0].Args) != 2 || o.rounds != 1 || o.seconds != 1 {
		t.Errorf("%v, %+v", err, o)
	}
	if got := against(o.programs); got != nstest.Rival {
		t.Errorf("compared with %q", got)
	}
	for _, bad := range [][]string{{"-tests", "nonsense"}, {"nocommand"}, {"a="}, {"=b"}, {"-rounds", "0"}, {"-seconds", "0"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestSchedule(t *testing.T) {
	one, _ := testByName("tcp1")
	many, _ := testByName("peers")
	a, b, floor := program{}, program{}, program{floor: true}
	a.Name, b.Name, floor.Name = "a", "b", "floor"
	var got string
	for _, s := range schedule(2, []test{one, many}, []program{a, b, floor}) {
		got += s.test.name + " " + s.program.Name + ", "
	}
	if want := "tcp1 a, tcp1 b, tcp1 floor, peers a, peers b, tcp1 b, tcp1 floor, tcp1 a, peers b, peers a, "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTimeLeft(t *testing.T) {
	idle, _ := testByName("idle")
	tcp, _ := testByName("tcp1")
	c := clockwork{seconds: 3}
	steps := []step{{test: idle}, {test: tcp}, {test: tcp}}
	guess := c.left(steps)
	if least := 10 * time.Second; guess < least || guess > 3*least {
		t.Errorf("a guess of %v", guess)
	}
	c.note(tcp, 2*time.Second)
	c.note(tcp, 4*time.Second)
	if got := c.left(steps[1:]); got != 6*time.Second {
		t.Errorf("%v left, not twice the mean", got)
	}
}

func TestLeastShare(t *testing.T) {
	for _, c := range []struct {
		counts []int64
		want   float64
	}{{[]int64{5, 5}, 1}, {[]int64{1, 3}, 0.5}, {[]int64{0, 3}, 0}, {[]int64{0, 0}, 0}} {
		if got := leastShare(c.counts); got != c.want {
			t.Errorf("%v: %v, not %v", c.counts, got, c.want)
		}
	}
}
