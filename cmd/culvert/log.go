package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
)

// level is how much is logged.
type level struct {
	name string
	slog slog.Level
}

// levels are in the order SIGUSR1 goes through them.
var levels = []level{
	{"silent", slog.Level(math.MaxInt)},
	{"error", slog.LevelError},
	{"warn", slog.LevelWarn},
	{"info", slog.LevelInfo},
	{"debug", slog.LevelDebug},
}

// levelAliases are other names in use: wireguard-go's, and common ones.
var levelAliases = map[string]string{"": "info", "verbose": "debug", "warning": "warn", "trace": "debug"}

func parseLevel(name string) (level, error) {
	want := strings.ToLower(name)
	if other, ok := levelAliases[want]; ok {
		want = other
	}
	for _, l := range levels {
		if l.name == want {
			return l, nil
		}
	}
	return level{}, fmt.Errorf("--log-level (LOG_LEVEL) must be silent, error, warn, info or debug, not %q", name)
}

// logger is the process's log, whose level can change.
type logger struct {
	*slog.Logger
	threshold slog.LevelVar
}

func newLogger(l level) *logger {
	log := new(logger)
	log.threshold.Set(l.slog)
	log.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: &log.threshold}))
	return log
}

// cycle goes to the next level, and tells of it if that level says anything.
func (l *logger) cycle() {
	next := 0
	for i := range levels {
		if levels[i].slog == l.threshold.Level() {
			next = (i + 1) % len(levels)
		}
	}
	l.threshold.Set(levels[next].slog)
	l.Error("log level changed", "now", levels[next].name)
}
