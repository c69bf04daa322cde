//go:build linux

package aead

import (
	"crypto/rand"
	"os"
	"testing"

	"culvert/internal/memscan"
	"culvert/internal/scrub"
)

// A key that is used once is nowhere afterwards.
func TestOnceLeavesNothing(t *testing.T) {
	done := make(chan struct{})
	go scrub.Run(func() {
		defer close(done)
		var key [KeySize]byte
		rand.Read(key[:])
		needles := memscan.Key("key", &key)
		buf, plain := make([]byte, 32+Overhead), make([]byte, 32)
		SealOnce(&key, buf, nil)
		if !OpenOnce(&key, plain, buf, nil) || OpenOnce(&key, plain, plain, nil) {
			t.Error("it does not open what it sealed")
		}
		clear(key[:])
		scrub.Deep() // which its callers do
		hits, err := memscan.Scan(os.Getpid(), needles)
		if err != nil || len(hits) > 0 {
			t.Errorf("%v, %v", hits, err)
		}
	})
	<-done
}
