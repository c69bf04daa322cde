//go:build amd64 || arm64

package confine

import (
	"os"
	"testing"
)

// TestMain makes the test binary a program that tries things, confined or not.
func TestMain(m *testing.M) {
	if text := os.Getenv(planVar); text != "" {
		attemptAndExit(text)
	}
	os.Exit(m.Run())
}
