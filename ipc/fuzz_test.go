package ipc

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// settable is what a client that restores a status would set: a get's reply
// without what only a device can know.
func settable(status string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(status, "\n"), func(line string) bool {
		for _, known := range []string{"last_handshake_time_", "tx_bytes=", "rx_bytes="} {
			if strings.HasPrefix(line, known) {
				return true
			}
		}
		return false
	})
	return strings.Join(lines, "")
}

// configured is a fake device after a set, and its status.
func configured(text string) (status string, err error) {
	u, err := ReadUpdate(strings.NewReader(text))
	if err != nil {
		return "", err
	}
	d := new(fakeDevice)
	if err := d.Configure(u); err != nil {
		return "", err
	}
	var b strings.Builder
	err = WriteStatus(&b, d)
	return b.String(), err
}

// FuzzSetGetSet holds two laws: what is refused is refused by an *Error with an
// errno and a line, or for a line too long, and what is taken prints as text
// that, set again, prints the same.
func FuzzSetGetSet(f *testing.F) {
	f.Add("private_key=" + hexA + "\nlisten_port=51820\nfwmark=0xca6c\nreplace_peers=true\npublic_key=" + hexB +
		"\npreshared_key=" + hexC + "\nendpoint=[fe80::1%eth0]:1\npersistent_keepalive_interval=25\nallowed_ip=10.1.2.3/16\nallowed_ip=fd01::1/64\n")
	f.Add("public_key=" + hexA + "\nallowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\npublic_key=" + hexB + "\nallowed_ip=10.0.0.0/8\nremove=true\n")
	f.Add("public_key=" + hexA + "\nendpoint=[::ffff:1.2.3.4]:5\nallowed_ip=::ffff:1.2.3.4/120\nprotocol_version=1\n")
	f.Add("public_key=" + hexA + "\nupdate_only=true\n\nfwmark=1\n")
	for _, bad := range badLines {
		f.Add("public_key=" + hexB + "\n" + bad.line + "\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := configured(text)
		if err != nil {
			var e *Error
			if errors.As(err, &e) {
				if e.Errno == 0 || e.Line < 2 {
					t.Fatalf("%q: %#v", text, e)
				}
			} else if !errors.Is(err, errLineTooLong) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		second, err := configured(settable(first))
		if err != nil || first != second {
			t.Fatalf("%q gives %q, which set again gives %q, %v", text, first, second, err)
		}
	})
}
