package confine

import (
	"os"
	"testing"
)

// TestMain makes the test binary a program that tries one thing, confined or not.
func TestMain(m *testing.M) {
	if name := os.Getenv(attemptVar); name != "" {
		attemptAndExit(name)
	}
	os.Exit(m.Run())
}
