package noisetest

import "testing"

func TestKeypairs(t *testing.T) {
	a, b := Keypairs(t, 1)
	if a.LocalIndex != b.RemoteIndex || b.LocalIndex != a.RemoteIndex || !a.Initiator || b.Initiator {
		t.Errorf("a %+v, b %+v do not belong together", a, b)
	}
	buf := make([]byte, 4+16)
	for i := range uint64(3) {
		copy(buf, "ping")
		a.Send.Seal(buf, i)
		if !b.Recv.Open(buf, i) || string(buf[:4]) != "ping" {
			t.Fatal("b does not understand a")
		}
		b.Send.Seal(buf, i)
		if !a.Recv.Open(buf, i) || string(buf[:4]) != "ping" {
			t.Fatal("a does not understand b")
		}
	}
	c, _ := Keypairs(t, 2)
	c.Send.Seal(buf, 0)
	if b.Recv.Open(buf, 0) {
		t.Error("another seed gives the same keys")
	}
}
