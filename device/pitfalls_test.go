package device

import (
	"testing"
	"time"

	"culvert/timers"
)

// Tests of faults that daemons have had and of rules that nothing else here
// holds; docs/pitfalls.md names them.

// A key that has sent more than REKEY_AFTER_MESSAGES is renewed, by either side
// and once, however young it is.
func TestRenewalAfterMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, opts Options) {
		p := newPair(t, opts)
		p.connect()
		sleep(6 * time.Second) // REKEY_TIMEOUT
		counter := func(h, o *host) { h.peer(o).sendKey.Load().next.Store(timers.RekeyAfterMessages) }
		counter(p.a, p.b)
		p.a.send(p.a.packet4(p.b, "at the limit"))
		p.want("a>b data 80")
		p.a.send(p.a.packet4(p.b, "above"))
		p.want("a>b data 80, a>b initiation, b>a response, a>b keepalive")
		sleep(6 * time.Second)
		counter(p.b, p.a) // the responder's
		p.b.send(p.b.packet4(p.a, "at the limit"))
		p.want("b>a data 80")
		p.b.send(p.b.packet4(p.a, "above"))
		p.want("b>a data 80, b>a initiation, a>b response, b>a keepalive")
	})
}
