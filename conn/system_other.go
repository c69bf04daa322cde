//go:build !linux

package conn

// System is the best Network of this platform: outside of Linux the portable
// one.
func System(opts Options) Network { return newPortable(opts) }
