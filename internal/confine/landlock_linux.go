package confine

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Landlock takes rights that nobody else has to know of: what is handled is
// refused, but for what rules allow. It came with Linux 5.13 and may be off, so it
// is had where it can be had; each version of its interface knows more rights.
// Files that are open stay so.

const (
	// toReplace is os.CreateTemp, writing, renaming over another, and os.Remove.
	toReplace = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSMakeReg | ll.AccessFSRemoveFile
	toRemove  = ll.AccessFSRemoveFile
)

// handled is what is refused but for the rules: every right about files that the
// library knows, TCP (not UDP, which from version 10 on could be), and abstract
// unix sockets of others.
func handled(version int) landlock.Config {
	c := landlock.Config{
		HandledAccessFS:  landlock.V11.HandledAccessFS,
		HandledAccessNet: ll.AccessNetBindTCP | ll.AccessNetConnectTCP,
		Scoped:           ll.ScopeAbstractUnixSocket,
	}
	if version >= signalsWork {
		c.Scoped |= ll.ScopeSignal
	}
	return c.BestEffort()
}

// signalsWork is the version from which on the threads of a process may signal each
// other though each was restricted by itself, which Go's preemption needs (Linux 6.15;
// version 6 has the right, and refuses that).
const signalsWork = 7

// probe tells the version that the kernel has, or with 0 why it has none.
func probe() (version int, why string) {
	version, err := ll.LandlockGetABIVersion()
	switch {
	case err == nil:
		return version, ""
	case errors.Is(err, unix.EOPNOTSUPP):
		return 0, "disabled when the kernel was started"
	}
	return 0, "not in this kernel or container: " + err.Error() // ENOSYS, or what a container refuses it with
}

// restrictFiles has Landlock in force if the kernel has it, and tells its version, or
// why not.
func restrictFiles(o Options) (version int, why string, err error) {
	if version, why = probe(); version == 0 {
		return 0, why, nil
	}
	rules := []landlock.Rule{landlock.PathAccess(toRemove, o.RemoveIn...), landlock.PathAccess(toReplace, o.ReplaceIn...)}
	if err := handled(version).Restrict(rules...); err != nil {
		return 0, "", fmt.Errorf("confine: landlock: %w", err)
	}
	return version, "", nil
}
