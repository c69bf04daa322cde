package main

import "runtime/debug"

// version is set by the Makefile (-ldflags -X), from git describe.
var version string

// versionString is the version built in, else what the go command knows of it.
func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
