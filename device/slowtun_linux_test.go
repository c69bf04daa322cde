package device

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"culvert/device/config"
)

// An interface that takes nothing for seconds holds up what is written to it and
// nothing else: the other direction, the configuration, the status. Then all that was
// received is there.
func TestTUNBlocksForSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		free := make(chan struct{})
		p.b.tun.FailWrites(func([]byte) error { <-free; return nil })
		var sent [][]byte
		for range 5 {
			x := p.a.packet4(p.b, "held up")
			p.a.send(x)
			sent = append(sent, x)
			sleep(time.Second)
			y := p.b.packet4(p.a, "the other way")
			p.b.send(y)
			p.a.wantReceived(y)
			p.b.configure(&config.Update{HasFirewallMark: true, FirewallMark: uint32(len(sent))})
			if s := p.b.status(p.a); s.Endpoint != p.a.outer {
				t.Errorf("%+v", s)
			}
		}
		p.b.wantReceived()
		close(free)
		p.b.wantReceived(sent...)
		p.b.tun.FailWrites(nil)
		p.crosses()
	})
}

// Whatever an interface says when it refuses packets, each is counted, the log has a
// line in 10 s, and the next one goes.
func TestTUNRefuses(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EINVAL, syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN, syscall.EPERM, syscall.EMSGSIZE, syscall.EFAULT, syscall.EBADFD} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				p := newPair(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				p.connect()
				p.b.tun.FailWrites(func([]byte) error { return errno })
				const packets = 25
				for range packets {
					p.a.send(p.a.packet4(p.b, "refused"))
					sleep(time.Second)
				}
				p.b.wantReceived()
				if n := p.b.drops(DropTunError); n != packets {
					t.Errorf("%d of %d counted", n, packets)
				}
				if n := strings.Count(log.String(), errno.Error()); n != 3 {
					t.Errorf("%d lines in 25 s: %s", n, &log)
				}
				p.b.tun.FailWrites(nil)
				p.crosses()
			})
		})
	}
}
