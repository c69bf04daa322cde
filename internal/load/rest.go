//go:build linux

package load

import (
	"context"
	"errors"
	"time"

	"culvert/noise"
)

// Rest is clients that are quiet, and where the daemon's keepalives reach them. One owner.
type Rest struct {
	c  *Clients
	s  socket
	in *inbox
}

// settleRate is how many clients a second move to their place of rest: few enough for
// the buffer of a daemon's socket.
const settleRate = 20_000

// NewRest has all clients that have a session send a keepalive each, from one socket, so
// that the daemon knows where they are, and then nothing any more. It must be called in
// the daemon's namespace.
func (c *Clients) NewRest(ctx context.Context) (*Rest, error) {
	s, err := newSocket()
	if err != nil {
		return nil, err
	}
	n := c.Sessions()
	sent, err := c.traffic(ctx, s, func(int) []byte { return nil }, settleRate, int64(n), time.Hour)
	if err == nil && sent.Datagrams != int64(n) {
		err = errors.New("not all clients have moved")
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
