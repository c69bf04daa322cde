package confine

import (
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Apply confines the process. After an error it is in a state between, and should
// end. It is called once, from any goroutine.
//
// The order is that of what each step needs: the bounding set needs CAP_SETPCAP,
// which goes with the capabilities.
func Apply(o Options) (State, error) {
	s := State{On: true}
	next, err := remaining(o.Keep)
	if err != nil {
		return s, err
	}
	if s.Bounded, err = bound(next); err != nil {
		return s, err
	}
	if err := next.SetProc(); err != nil {
		return s, fmt.Errorf("confine: set capabilities: %w", err)
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return s, fmt.Errorf("confine: no_new_privs: %w", err)
	}
	s.NoNewPrivs = true
	if s.Capabilities, err = effective(); err != nil {
		return s, err
	}
	s.Landlock, s.LandlockWhy, err = restrictFiles(o)
	return s, err
}
