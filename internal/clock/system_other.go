//go:build !linux

package clock

// System returns the machine's clocks. Where no boot-time clock is at hand
// this is the monotonic clock of package time.
func System() Clock { return Virtual() }
