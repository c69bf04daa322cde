//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// carriesContents fails the test unless bytes of TCP from left to an address of right, and as many back at the
// same time, arrive as they were sent. iperf3 does not look at what it gets, and a
// checksum that was left to an offload says nothing.
func (p *pair) carriesContents(t *testing.T, to string, bytes int) {
	t.Helper()
	var l net.Listener
	must(t, p.right.NS.Do(func() (err error) { l, err = net.Listen("tcp", net.JoinHostPort(to, "0")); return err }))
	defer l.Close()
	answered := make(chan error, 1)
	go func() { // ends when the listener is closed or the connection's time is over
		c, err := l.Accept()
		if err == nil {
			err = exchange(c, 'r', 'l', bytes)
		}
		answered <- err
	}()
	var c net.Conn
	must(t, p.left.NS.Do(func() (err error) { c, err = net.DialTimeout("tcp", l.Addr().String(), patience); return err }))
	if err := errors.Join(exchange(c, 'l', 'r', bytes), <-answered); err != nil {
		t.Fatalf("%d bytes of TCP each way to %s: %v", bytes, to, err)
	}
}

// exchange sends n bytes of one stream and wants n of another, within 30 s, and closes.
func exchange(c net.Conn, mine, theirs byte, n int) error {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { // ends with what it sends, or the deadline
		_, err := io.CopyN(c, stream(mine), int64(n))
		sent <- err
	}()
	err := wants(c, stream(theirs), n)
	return errors.Join(err, <-sent)
}

// stream is endless and the same for each name.
func stream(name byte) io.Reader { return rand.NewChaCha8([32]byte{name}) }

// wants compares the next n bytes.
func wants(got, want io.Reader, n int) error {
	g, w := make([]byte, 16<<10), make([]byte, 16<<10)
	for at := 0; at < n; at += len(g) {
		g, w = g[:min(len(g), n-at)], w[:min(len(w), n-at)]
		if m, err := io.ReadFull(got, g); err != nil {
			return fmt.Errorf("after %d bytes: %w", at+m, err)
		}
		if _, err := io.ReadFull(want, w); err != nil {
			return err
		}
		if !bytes.Equal(g, w) {
			return fmt.Errorf("other bytes than were sent between %d and %d", at, at+len(g))
		}
	}
	return nil
}
