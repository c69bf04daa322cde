//go:build linux

package load

import (
	"context"
	"fmt"
	"time"

	"culvert/noise"
)

// Rest is clients that are quiet, and where the daemon's keepalives reach them. One owner.
type Rest struct {
	c  *Clients
	s  socket
	in *inbox
}

// NewRest has all clients that have a session send a keepalive each, from one socket, so
// that the daemon knows where they are, and then nothing any more. It takes that long, over
// which they are spread evenly. It must be called in the daemon's namespace.
func (c *Clients) NewRest(ctx context.Context, over time.Duration) (*Rest, error) {
	s, err := newSocket()
	if err != nil {
		return nil, err
	}
	n := c.Sessions()
	sent, err := c.traffic(ctx, s, func(int) []byte { return nil }, float64(n)/over.Seconds(), int64(n), 2*over)
	if err == nil && sent.Datagrams != int64(n) {
		err = fmt.Errorf("only %d of %d clients have moved", sent.Datagrams, n)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return &Rest{c, s, newInbox()}, nil
}

// Close closes the socket.
func (r *Rest) Close() { r.s.close() }

// Count counts the keepalives that come for the clients until the time is over. They are
// not opened: nobody else is in the namespace.
func (r *Rest) Count(ctx context.Context, length time.Duration) (keepalives int64, err error) {
	var got []received
	for end := time.Now().Add(length); ctx.Err() == nil && time.Now().Before(end); {
		if got, err = r.in.receive(r.s, got[:0]); err != nil {
			return keepalives, err
		}
		for _, m := range got {
			if len(m.data) == noise.KeepaliveSize && noise.Classify(m.data) == noise.TypeTransport && int(noise.Receiver(m.data)) < len(r.c.all) {
				keepalives++
			}
		}
		if len(got) == 0 { // and who does not wait is not woken, which the daemon would have to do
			time.Sleep(min(time.Until(end), 20*time.Millisecond))
		}
	}
	return keepalives, ctx.Err()
}
