//go:build unix

package ipc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// reporting is a device that reports.
type reporting struct {
	fakeDevice
	value any
}

func (d *reporting) Report() any { return d.value }

// A status is one line of JSON and its errno, between other operations; a
// request with more in it is refused whole.
func TestStatusConversation(t *testing.T) {
	d := &reporting{value: map[string]any{"a": 1, "text": "two\nlines"}}
	inBubble(t, d, func(t *testing.T, l *pipeListener, _ *Server, log *bytes.Buffer) {
		c := l.dial()
		defer c.Close()
		const answer = `status={"a":1,"text":"two\nlines"}` + "\nerrno=0\n"
		c.ask(t, "culvert_status=1\n\n", answer)
		c.ask(t, "get=1\n\n", "listen_port=0\nerrno=0\n")
		c.ask(t, "culvert_status=1\n\nget=1\n\n", answer)
		if got, err := c.reply(); err != nil || got != "listen_port=0\nerrno=0\n" {
			t.Errorf("%q, %v", got, err)
		}
		if log.Len() > 0 {
			t.Errorf("the log says %s", log)
		}
		c.ask(t, "culvert_status=1\nfwmark=1\n\n", fmt.Sprintf("errno=%d\n", syscall.EINVAL))
		d.value = math.NaN() // JSON has none
		c.ask(t, "culvert_status=1\n\n", fmt.Sprintf("errno=%d\n", syscall.EIO))
		d.value = nil
		c.ask(t, "culvert_status=1\n\n", "status=null\nerrno=0\n")
	})
}

// What is like it but another operation is refused, and so is a status where
// there is none.
func TestStatusRefused(t *testing.T) {
	for _, c := range []struct {
		device  Device
		request string
	}{
		{new(fakeDevice), "culvert_status=1\n\n"},
		{&reporting{}, "culvert_status=2\n\n"}, {&reporting{}, "culvert_status\n\n"}, {&reporting{}, "status=1\n\n"},
	} {
		inBubble(t, c.device, func(t *testing.T, l *pipeListener, _ *Server, _ *bytes.Buffer) {
			talk := l.dial()
			defer talk.Close()
			talk.ask(t, c.request, fmt.Sprintf("errno=%d\n", syscall.EPROTO))
			if _, err := talk.reply(); err == nil {
				t.Errorf("%q: the conversation goes on", c.request)
			}
		})
	}
}

func TestAskStatus(t *testing.T) {
	dir := socketDir(t)
	l, err := ListenIn(dir, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 200_000)
	s := Serve(l, &reporting{value: long}, nil)
	defer s.Close()
	if got, err := AskStatusIn(dir, "wg0"); err != nil || string(got) != `"`+long+`"` {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if names, err := servedIn(dir); err != nil || !slices.Equal(names, []string{"wg0"}) {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := AskStatusIn(dir, "wg1"); !errors.Is(err, ErrNotServed) {
		t.Error(err)
	}
	if names, err := servedIn(filepath.Join(dir, "none")); err != nil || names != nil {
		t.Errorf("%v, %v", names, err)
	}
}

// Sockets nobody listens on any more, files, and daemons that know no status.
func TestAskStatusOfOthers(t *testing.T) {
	dir := socketDir(t)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "stale.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if _, err := AskStatusIn(dir, "stale"); !errors.Is(err, ErrNotServed) {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := servedIn(dir); err != nil || !slices.Equal(names, []string{"stale"}) {
		t.Errorf("%v, %v", names, err)
	}
	l, err := ListenIn(dir, "plain")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, new(fakeDevice), nil)
	defer s.Close()
	if _, err := AskStatusIn(dir, "plain"); !errors.Is(err, ErrNoStatus) {
		t.Error(err)
	}
}

func TestReadStatus(t *testing.T) {
	for reply, want := range map[string]string{
		"status={}\nerrno=0\n\n":             "{}",
		"more=5\nstatus={}\nerrno=0\n\n":     "{}",
		"":                                   "",
		"errno=0\n\n":                        "",
		"status={}\n":                        "",
		"status={\nerrno=0\n\n":              "",
		"status={}\nerrno=5\n\n":             "",
		"protocol_error\n\n":                 "",
		strings.Repeat("a", maxStatus) + "a": "",
	} {
		got, err := readStatus(strings.NewReader(reply))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%.40q: %s, %v", reply, got, err)
		}
	}
}
