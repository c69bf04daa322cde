//go:build amd64 || arm64

package confine

import (
	"os"
	"testing"
)

// TestMain makes the test binary a program that tries things, confined or not,
// that is in a container, or that fails.
func TestMain(m *testing.M) {
	if text := os.Getenv(planVar); text != "" {
		attemptAndExit(text)
	}
	if name := os.Getenv(refuseVar); name != "" {
		inContainer(name)
	}
	if name := os.Getenv(crashVar); name != "" {
		crash(name)
	}
	os.Exit(m.Run())
}
