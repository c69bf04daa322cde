package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"culvert/internal/confine"
)

// keep are the capabilities a daemon needs as long as it serves: for marks on
// sockets, buffers beyond the system's limit, and where its interface has gone;
// and for a port below 1024, when that is set or the link comes up.
var keep = []string{"cap_net_admin", "cap_net_bind_service"}

// confineNow gives up what only starting needs. Nothing may be opened, or looked
// up for the first time, after it that was not thought of in package confine.
func confineNow(o *options, parent *parent, socket string, log *slog.Logger) (confine.State, error) {
	// The directory culvert was started in may go: nothing is opened by a
	// relative path from here on.
	if parent != nil {
		if err := os.Chdir("/"); err != nil {
			return confine.State{}, err
		}
	}
	state, err := confineAs(o, socket)
	if err == nil && o.StateDir != "" {
		err = tryDir(o.StateDir) // again: root has no right to others' files any more
	}
	if err == nil {
		log.Debug("confinement", "state", state.String())
	}
	return state, err
}

// confineAs confines the process as the options say.
func confineAs(o *options, socket string) (confine.State, error) {
	if o.NoConfine {
		return confine.Off(), nil
	}
	_, _ = time.Now().Zone() // which is read from a file once
	residentMemory()         // whose file stays open
	needs := confine.Options{Keep: keep, User: o.user}
	if socket != "" {
		needs.RemoveIn = []string{filepath.Dir(socket)}
	}
	if o.StateDir != "" {
		needs.ReplaceIn = []string{o.StateDir}
	}
	if o.user != nil && o.StateDir != "" {
		if err := giveDir(o.StateDir, o.user); err != nil {
			return confine.State{}, fmt.Errorf("--user (CULVERT_USER): the state directory: %w", err)
		}
	}
	state, err := confine.Apply(needs)
	switch {
	case err != nil && o.user != nil:
		return state, fmt.Errorf("%w; --no-confine (CULVERT_NO_CONFINE=1) in place of --user (CULVERT_USER) starts without", err)
	case err != nil:
		return state, fmt.Errorf("%w; --no-confine (CULVERT_NO_CONFINE=1) starts without", err)
	}
	return state, nil
}
