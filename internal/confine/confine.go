// Package confine gives up what a process needs to start and not to go on: a
// program that was taken over through what it reads from the network shall find
// nothing to go on with. It is about the whole process, so only commands use it,
// never a package that others embed.
//
// All of it is for good, and for all threads, those that exist and those to come.
package confine

import (
	"strconv"
	"strings"
)

// Options say what the process goes on to need. The zero value is the least.
type Options struct {
	// Keep are names of capabilities, such as cap_net_admin, that stay if they are
	// there. All others go.
	Keep []string
	// User is who the process becomes, without groups but that one; nil: nobody else. It
	// takes CAP_SETUID and CAP_SETGID. The capabilities of Keep stay.
	User *User
	// RemoveIn are directories in which files may be removed, and ReplaceIn those in
	// which regular files may be made, read, written, renamed and removed. They must be
	// there, and are known by what they are: one that is made anew is another.
	// Elsewhere no file can be opened or changed.
	RemoveIn, ReplaceIn []string
}

// User is an account of the system.
type User struct {
	Name     string
	UID, GID int
}

// State is what is in force. Its JSON is part of culvert status, and promised by
// culvert(8).
type State struct {
	// On is whether Apply was called, and the system has any of it. Else Why is
	// Option or Unsupported, and the rest is zero.
	On  bool   `json:"on"`
	Why string `json:"why,omitempty"`

	Capabilities []string `json:"capabilities"` // that are left
	// Bounded is whether no others can come back by running a program, which no_new_privs
	// forbids anyway. It takes CAP_SETPCAP.
	Bounded    bool `json:"bounded"`
	NoNewPrivs bool `json:"no_new_privs"`
	// User is who the process has become, empty if it is who started it.
	User string `json:"user,omitempty"`

	// Landlock is the version of the kernel's interface, 0 where there is none, and
	// then LandlockWhy says why.
	Landlock    int    `json:"landlock_abi"`
	LandlockWhy string `json:"landlock_why,omitempty"`
	// Seccomp is whether system calls are filtered, else SeccompWhy says why not.
	Seccomp    bool   `json:"seccomp"`
	SeccompWhy string `json:"seccomp_why,omitempty"`
}

// Values of Why.
const (
	Option      = "option"      // the user does not want it
	Unsupported = "unsupported" // by the system
)

// Off is the state of a process whose user does not want to be confined.
func Off() State { return State{Why: Option, Capabilities: []string{}} }

// String is for people: what is in force, or why nothing is.
func (s State) String() string {
	if !s.On {
		return "off (" + s.Why + ")"
	}
	capabilities := "no capabilities"
	if len(s.Capabilities) > 0 {
		capabilities = strings.Join(s.Capabilities, " ")
	}
	parts := []string{capabilities}
	if s.NoNewPrivs {
		parts = append(parts, "no_new_privs")
	}
	if s.User != "" {
		parts = append(parts, "user "+s.User)
	}
	switch {
	case s.Landlock > 0:
		parts = append(parts, "landlock "+strconv.Itoa(s.Landlock))
	case s.LandlockWhy != "":
		parts = append(parts, "no landlock ("+s.LandlockWhy+")")
	}
	switch {
	case s.Seccomp:
		parts = append(parts, "seccomp")
	case s.SeccompWhy != "":
		parts = append(parts, "no seccomp ("+s.SeccompWhy+")")
	}
	return strings.Join(parts, ", ")
}
