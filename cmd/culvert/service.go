package main

import (
	"log/slog"
	"net"
	"os"
)

// What a service manager is told (sd_notify(3)).
const (
	serving  = "READY=1"
	stopping = "STOPPING=1"
)

// manager is the way to the service manager, a socket that stays: it could not be
// opened when the daemon is confined. That is why it is not of
// github.com/coreos/go-systemd, which opens one for each word. The zero value tells
// nobody.
type manager struct {
	conn *net.UnixConn
	err  error
}

// dialManager opens the socket that the environment names, if it does.
func dialManager() (m manager) {
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" { // @ is the abstract namespace, to package net too
		m.conn, m.err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	}
	return m
}

// tell tells one word.
func (m manager) tell(log *slog.Logger, word string) {
	err := m.err
	if m.conn != nil {
		_, err = m.conn.Write([]byte(word))
	}
	if err != nil {
		log.Warn("cannot tell the service manager", "state", word, "err", err)
	}
}
