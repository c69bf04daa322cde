package tun_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/internal/offload"
	"culvert/tun"
	"culvert/tun/tuntest"

	"golang.org/x/sys/unix"
)

// Faults at the system calls, one by one: what was written again, what was lost
// and counted, what is remembered, and that the rest of the batch went.

// failing is the kernel's side of a queue. It keeps what is written, and
// refuses what hits says with errno; errno 0 takes a part only.
type failing struct {
	hits    func(super bool, b []byte) bool
	errno   unix.Errno
	times   int // that are left; negative: without end
	calls   int
	written [][]byte
}

func (k *failing) write(super bool, b []byte) (int, unix.Errno) {
	k.calls++
	if k.times != 0 && k.hits(super, b) {
		k.times--
		if k.errno != 0 {
			return -1, k.errno
		}
		return len(b) - 1, 0
	}
	k.written = append(k.written, slices.Clone(b))
	return len(b), 0
}

func (k *failing) kernel() tun.Kernel {
	return tun.Kernel{
		Write: func(_ int, b []byte) (int, unix.Errno) { return k.write(false, b) },
		Writev: func(_ int, iovs []unix.Iovec) (int, unix.Errno) {
			return k.write(true, tun.Gather(iovs))
		},
	}
}

// packets are all that was written, split.
func (k *failing) packets(t *testing.T) (all [][]byte) {
	for _, b := range k.written {
		all = append(all, splitAll(t, mustVirtio(t, b))...)
	}
	return all
}

func TestWriteFaults(t *testing.T) {
	const (
		supers = "every super-packet of TCP over IPv4"
		once   = "one call"
		always = "every TCP packet over IPv4"
		short  = unix.Errno(0)
	)
	type outcome struct {
		lost    int // packets, of 5
		why     string
		refused uint64
		again   int // calls of a second write of the same
	}
	for _, c := range []struct {
		errno unix.Errno
		when  string
		want  outcome
	}{
		{unix.EIO, supers, outcome{why: "EIO", refused: 1, again: 5}},
		{unix.EIO, once, outcome{why: "EIO", refused: 1, again: 5}},
		{unix.EIO, always, outcome{lost: 3, again: 6}}, // so it is when the interface is down
		{unix.EINVAL, supers, outcome{why: "EINVAL", refused: 1, again: 5}},
		{unix.EINVAL, once, outcome{why: "EINVAL", refused: 1, again: 5}},
		{unix.EINVAL, always, outcome{lost: 3, again: 6}},
		{unix.EMSGSIZE, supers, outcome{why: "EMSGSIZE", refused: 1, again: 5}},
		{unix.EMSGSIZE, always, outcome{lost: 3, again: 6}},
		{unix.EOPNOTSUPP, supers, outcome{why: "ENOTSUP", refused: 1, again: 5}},
		{short, supers, outcome{why: "EIO", refused: 1, again: 5}},
		{short, always, outcome{lost: 3, again: 6}},
		{unix.ENOBUFS, supers, outcome{lost: 3, again: 3}},
		{unix.ENOBUFS, once, outcome{lost: 3, again: 3}},
		{unix.ENOMEM, once, outcome{lost: 3, again: 3}},
		{unix.EAGAIN, once, outcome{lost: 3, again: 3}}, // nobody waits for an interface
		{unix.EPERM, once, outcome{lost: 3, again: 3}},
		{unix.EINTR, once, outcome{again: 3}},
	} {
		t.Run(unix.ErrnoName(c.errno)+" for "+c.when, func(t *testing.T) {
			k := &failing{errno: c.errno, times: -1, hits: func(super bool, b []byte) bool {
				ip := b[tun.VirtioLen:]
				return ip[0]>>4 == 4 && ip[9] == unix.IPPROTO_TCP && (super || c.when != supers)
			}}
			if c.when == once {
				k.times = 1
			}
			d, _ := onSocket(t, 1<<20, unix.SOCK_CLOEXEC)
			tun.SetKernel(d, k.kernel())
			v4, ping := stream(3, 1000), tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, []byte("x"))
			udp := tuntest.UDP(a6, b6, pattern(100))
			batch := append(slices.Clone(v4), ping, udp)
			n, err := d.Write(withHeadroom(batch), tun.Headroom)
			s := d.(tun.StatsSource).Stats()
			got := outcome{lost: len(batch) - n, why: whyOff(d, "merge_tcp4"), refused: s.Refused}
			want := slices.Clone(batch[c.want.lost:])
			compare(t, k.packets(t), want)
			wantErr := c.errno
			if wantErr == short {
				wantErr = unix.EIO
			}
			if got.lost == 0 && err != nil || got.lost > 0 && err != wantErr || s.WriteErrors != uint64(got.lost) {
				t.Errorf("%v, counted %d errors", err, s.WriteErrors)
			}
			if !s.MergeTCP6 || !s.MergeUDP4 || !s.MergeUDP6 {
				t.Errorf("other kinds are blamed: %+v", s)
			}
			before := k.calls
			d.Write(withHeadroom(batch), tun.Headroom)
			if got.again = k.calls - before; got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// whyOff is why the offload called name is off, empty if it is on.
func whyOff(d tun.Device, name string) string {
	for _, o := range offloadsOf(d) {
		if o.Name == name {
			return o.Why
		}
	}
	return "no such offload"
}

func offloadsOf(d tun.Device) []offload.State {
	return d.(interface{ Offloads() []offload.State }).Offloads()
}

// What Linux says when it has thrown a packet away is no end, and no memory is none;
// 10 s without a packet in between are. Such a failure costs a hundred calls a second.
func TestReadFaults(t *testing.T) {
	for _, c := range []struct {
		errno   unix.Errno
		times   int
		counted uint64
		pauses  int
		want    error // nil: the packet comes
	}{
		{unix.EINVAL, 15, 15, 0, nil}, {unix.EINVAL, 1015, 1015, 1000, nil}, {unix.EINVAL, 1016, 1016, 1000, unix.EINVAL},
		{unix.EIO, 16, 16, 1, nil}, {unix.EIO, 1016, 1016, 1000, unix.EIO},
		{unix.EMSGSIZE, 15, 15, 0, nil}, {unix.ENOBUFS, 500, 500, 485, nil}, {unix.ENOMEM, 500, 500, 485, nil}, {unix.ENOBUFS, 5000, 1016, 1000, unix.ENOBUFS},
		{unix.EINTR, 100, 0, 0, nil}, {unix.EAGAIN, 1, 0, 0, nil},
		{unix.EPERM, 1, 0, 0, unix.EPERM}, {unix.ENETUNREACH, 1, 0, 0, unix.ENETUNREACH}, {unix.EBADF, 1, 0, 0, unix.EBADF},
		{unix.EBADFD, 1, 0, 0, tun.ErrDeleted}, {unix.EFAULT, 1, 0, 0, tun.ErrDeleted},
	} {
		t.Run(fmt.Sprintf("%s %d times", unix.ErrnoName(c.errno), c.times), func(t *testing.T) {
			d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			ping := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, nil)
			left := c.times
			tun.SetKernel(d, tun.Kernel{Read: func(fd int, b []byte) (int, error) {
				if left == 0 {
					return unix.Read(fd, b)
				}
				if left--; left == 0 { // now, so that who waits after EAGAIN is woken
					unix.Write(kernel, append(make([]byte, tun.VirtioLen), ping...))
				}
				return -1, c.errno
			}})
			var p tun.Packet
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				err := d.Readers()[0].Read(&p)
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if took := time.Since(begin); took != time.Duration(c.pauses)*tun.ReadPause {
					t.Errorf("took %v", took)
				}
				if err == nil {
					compare(t, splitAll(t, &p), [][]byte{ping})
					if left = c.times; d.Readers()[0].Read(&p) != nil { // counted anew
						t.Error("what was before a packet counts after it")
					}
					c.counted *= 2
				}
			})
			if s := d.(tun.StatsSource).Stats(); s.ReadErrors != c.counted || s.Malformed != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TryRead does not wait for a failure to pass: Read does, the next time.
func TestTryReadDoesNotRest(t *testing.T) {
	d, _ := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	tun.SetKernel(d, tun.Kernel{Read: func(int, []byte) (int, error) { return -1, unix.ENOMEM }})
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var p tun.Packet
		for range 20 {
			if ok, err := d.Readers()[0].TryRead(&p); ok || !errors.Is(err, unix.ENOMEM) {
				t.Fatalf("%v, %v", ok, err)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// What comes right after so many failures that a reader gives its caller a rest is not lost.
func TestTryReadLosesNothing(t *testing.T) {
	d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	ping := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, nil)
	unix.Write(kernel, append(make([]byte, tun.VirtioLen), ping...))
	calls := 0
	tun.SetKernel(d, tun.Kernel{Read: func(fd int, b []byte) (int, error) {
		if calls++; calls <= 16 {
			return -1, unix.ENOMEM
		}
		return unix.Read(fd, b)
	}})
	var p tun.Packet
	if ok, err := d.Readers()[0].TryRead(&p); ok || !errors.Is(err, unix.ENOMEM) {
		t.Fatalf("%v, %v", ok, err)
	}
	if ok, err := d.Readers()[0].TryRead(&p); !ok || err != nil {
		t.Fatalf("%v, %v: the packet is gone", ok, err)
	}
	compare(t, splitAll(t, &p), [][]byte{ping})
}

// A read of nothing, of less than a header, of no more than one, of more than a
// packet can have: each is skipped and counted, and the next packet comes.
func TestOddReads(t *testing.T) {
	d, kernel := onSocket(t, 1<<20, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	ping := tuntest.Ping(a4.Addr(), b4.Addr(), 1, 2, nil)
	unix.Write(kernel, append(make([]byte, tun.VirtioLen), ping...))
	odd := []int{0, 1, tun.VirtioLen - 1, tun.VirtioLen, tun.VirtioLen + 1, tun.VirtioLen + 19, tun.ReadSize}
	want := uint64(len(odd))
	tun.SetKernel(d, tun.Kernel{Read: func(fd int, b []byte) (int, error) {
		if len(odd) == 0 {
			return unix.Read(fd, b)
		}
		n := odd[0]
		odd = odd[1:]
		clear(b)
		b[tun.VirtioLen] = 0x45
		return n, nil
	}})
	var p tun.Packet
	if err := d.Readers()[0].Read(&p); err != nil {
		t.Fatal(err)
	}
	compare(t, splitAll(t, &p), [][]byte{ping})
	if s := d.(tun.StatsSource).Stats(); s.Malformed != want || s.ReadErrors != 0 {
		t.Errorf("%+v", s)
	}
}

// What TUNSETOFFLOAD refuses shows in the states, and less is asked for.
func TestSetOffloadRefused(t *testing.T) {
	const csum, tso, uso = unix.TUN_F_CSUM, unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN, unix.TUN_F_USO4 | unix.TUN_F_USO6
	type states struct{ readTSO, readUSO, mergeTCP, mergeUDP string }
	for _, c := range []struct {
		name    string
		vnet    bool
		opts    tun.Options
		refuses int // flags
		asked   []int
		want    states
	}{
		{"nothing", true, tun.Options{}, 0, []int{csum | tso | uso}, states{}},
		{"USO, before Linux 6.2", true, tun.Options{}, uso, []int{csum | tso | uso, csum | tso}, states{readUSO: "unsupported", mergeUDP: "unsupported"}},
		{"all", true, tun.Options{}, csum, []int{csum | tso | uso, csum | tso, 0}, states{readTSO: "unsupported", readUSO: "unsupported", mergeUDP: "unsupported"}},
		{"USO, that is not wanted", true, tun.Options{NoUSO: true}, uso, []int{csum | tso}, states{readUSO: "option", mergeUDP: "option"}},
		{"TSO, that is not wanted", true, tun.Options{NoTSO: true}, tso, []int{csum | uso}, states{readTSO: "option", mergeTCP: "option"}},
		{"nothing, but no merging is wanted", true, tun.Options{NoGRO: true}, 0, []int{csum | tso | uso}, states{mergeTCP: "option", mergeUDP: "option"}},
		{"nothing, but there are no headers", false, tun.Options{}, 0, nil, states{"unsupported", "unsupported", "unsupported", "unsupported"}},
		{"nothing, but there are no headers and no TSO is wanted", false, tun.Options{NoTSO: true}, 0, nil, states{"option", "unsupported", "option", "unsupported"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []int
			d := tun.WithOffloads(c.vnet, c.opts, func(_, flags int) error {
				if asked = append(asked, flags); flags&c.refuses != 0 {
					return unix.EINVAL
				}
				return nil
			})
			got := states{whyOff(d, "read_tso"), whyOff(d, "read_uso"), whyOff(d, "merge_tcp4"), whyOff(d, "merge_udp6")}
			if got != c.want || !slices.Equal(asked, c.asked) {
				t.Errorf("%+v after asking for %#x", got, asked)
			}
		})
	}
}

// A change of the MTU gives what was refused another chance, for the interface
// and what is behind it may be others now.
func TestMTUChangeForgives(t *testing.T) {
	n := newNetns(t)
	d := create(t, n, tun.Options{})
	n.ip(t, "link set "+d.Name()+" up")
	for e := range d.Events() {
		if e.Kind == tun.Up {
			break
		}
	}
	k := &failing{errno: unix.EINVAL, times: -1, hits: func(super bool, _ []byte) bool { return super }}
	tun.SetKernel(d, k.kernel())
	d.Write(withHeadroom(stream(3, 1000)), tun.Headroom)
	if whyOff(d, "merge_tcp4") != "EINVAL" {
		t.Fatalf("%+v", offloadsOf(d))
	}
	n.ip(t, "link set "+d.Name()+" mtu 1300")
	for e := range d.Events() {
		if e.Kind == tun.MTUChanged {
			break
		}
	}
	if whyOff(d, "merge_tcp4") != "" {
		t.Errorf("%+v", offloadsOf(d))
	}
}
