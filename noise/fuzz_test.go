package noise

import (
	"bytes"
	"encoding/binary"
	"testing"

	"culvert/device/config"
)

// Any bytes: no panic, and nothing authenticates but the true message, whose
// index and MACs Noise does not cover.
func FuzzOpenInitiation(f *testing.F) {
	w := newWorld(f, 8, config.PresharedKey{})
	w.initiate(f)
	f.Add(w.initiation[:])
	f.Add(message(InitiationSize, 1))
	f.Add(message(ResponseSize, 2))
	f.Fuzz(func(t *testing.T, msg []byte) {
		in, err := w.b.OpenInitiation(msg, w.find)
		if genuine := len(msg) == InitiationSize && bytes.Equal(msg[8:116], w.initiation[8:116]) && Classify(msg) == TypeInitiation; genuine != (err == nil) {
			t.Errorf("% x: %v", msg, err)
		}
		if err != nil && in != (OpenedInitiation{}) {
			t.Error("an error came with secrets")
		}
		if err == nil && in.RemoteIndex != binary.LittleEndian.Uint32(msg[4:]) {
			t.Errorf("index %#x", in.RemoteIndex)
		}
	})
}

func FuzzOpenResponse(f *testing.F) {
	w := newWorld(f, 9, config.PresharedKey{1})
	w.initiate(f)
	w.respond(f)
	f.Add(w.response[:])
	f.Add(message(ResponseSize, 2))
	f.Add(message(InitiationSize, 1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		k, err := w.a.OpenResponse(w.state, w.toB, msg)
		if genuine := len(msg) == ResponseSize && bytes.Equal(msg[8:60], w.response[8:60]) && Classify(msg) == TypeResponse; genuine != (err == nil) {
			t.Errorf("% x: %v", msg, err)
		}
		if err == nil && k.RemoteIndex != binary.LittleEndian.Uint32(msg[4:]) {
			t.Errorf("index %#x", k.RemoteIndex)
		}
	})
}
