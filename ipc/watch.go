//go:build unix

package ipc

import (
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollInterval is how often a file is looked at where the system has no more
// watches to give (Linux: 128 inotify instances per user).
const pollInterval = time.Second

// watch tells when something is gone from a directory.
type watch struct {
	notify *fsnotify.Watcher // nil if there is none to be had
	done   chan struct{}
	ended  sync.WaitGroup
}

// newWatch calls then, once, when gone is true after any change in dir. Both
// are called on a goroutine that ends afterwards, or at close. What changes is
// not looked at: a look at the one file costs little, and misses nothing.
func newWatch(dir string, gone func() bool, then func()) *watch {
	w := &watch{done: make(chan struct{})}
	if n, err := fsnotify.NewWatcher(); err == nil {
		if err := n.Add(dir); err == nil {
			w.notify = n
		} else {
			n.Close()
		}
	}
	w.start(gone, then)
	return w
}

func (w *watch) start(gone func() bool, then func()) {
	w.ended.Go(func() {
		for !gone() {
			if !w.wait() {
				return
			}
		}
		then()
	})
}

// wait returns after a change, or a while; false after close.
func (w *watch) wait() bool {
	if w.notify == nil {
		select {
		case <-time.After(pollInterval):
			return true
		case <-w.done:
			return false
		}
	}
	select {
	case _, ok := <-w.notify.Events:
		return ok
	case _, ok := <-w.notify.Errors: // events were lost: look
		return ok
	case <-w.done:
		return false
	}
}

// close ends the watch and waits for its goroutine. It is called once.
func (w *watch) close() {
	close(w.done)
	if w.notify != nil {
		w.notify.Close()
	}
	w.ended.Wait()
}
