package main

import (
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What a service manager is told (sd_notify(3)).
const (
	serving  = daemon.SdNotifyReady
	stopping = daemon.SdNotifyStopping
)

// notifyService tells the service manager, if there is one.
func notifyService(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell the service manager", "state", state, "err", err)
	}
}
