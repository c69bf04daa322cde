package conn

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A watch that cannot be begun (no descriptors) is begun later, and so is one that
// breaks; whoever has a sticky source looks at it again then. Until close nothing
// but time is waited for.
func TestRouteWatchIsBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, changed := time.Now(), make(chan struct{})
		r := &routes{counters: new(counters), notify: func() { changed <- struct{}{} }}
		var tried []int
		var c *netlink.Conn
		w := startRouteWatch(r, nil, func() (*netlink.Conn, error) {
			tried = append(tried, int(time.Since(begin)/time.Second))
			if len(tried)%9 != 0 {
				return nil, unix.EMFILE
			}
			var err error
			c, err = dialRouteWatch()
			return c, err
		})
		if r.watching.Load() {
			t.Error("it is said to watch")
		}
		<-changed
		if want := []int{1, 3, 7, 15, 31, 63, 123, 183, 243}; !slices.Equal(tried, want) {
			t.Errorf("tried after %v s, not %v", tried, want)
		}
		if !r.watching.Load() {
			t.Error("it is not said to watch")
		}
		c.Close() // it breaks
		<-changed
		if len(tried) != 18 {
			t.Errorf("%d tries", len(tried))
		}
		w.close()
		if r.watching.Load() {
			t.Error("it is said to watch after close")
		}
	})
}
