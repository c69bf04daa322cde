package confine

import (
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Apply confines the process. After an error it is in a state between, and should
// end. It is called once, from any goroutine.
//
// The order is that of what each step needs: the bounding set needs CAP_SETPCAP and
// another user CAP_SETUID, which go with the capabilities; Landlock and seccomp need
// no_new_privs; and the calls of all the others are among those that seccomp takes.
func Apply(o Options) (State, error) {
	s := State{On: true}
	next, err := remaining(o.Keep)
	if err != nil {
		return s, err
	}
	if s.Bounded, err = bound(next); err != nil {
		return s, err
	}
	if o.User != nil {
		if err := become(*o.User); err != nil {
			return s, err
		}
		s.User = o.User.Name
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
	if s.Landlock, s.LandlockWhy, err = restrictFiles(o); err != nil {
		return s, err
	}
	s.Seccomp, s.SeccompWhy, err = restrictCalls()
	return s, err
}
