//go:build unix

package ipc

import (
	"bufio"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFromFile(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "handed.sock")
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUnlinkOnClose(false)
	f, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
	l, err := FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, new(fakeDevice), nil)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	(&talk{conn, bufio.NewReader(conn)}).ask(t, "get=1\n\n", "listen_port=0\nerrno=0\n")
	os.Remove(path)
	isRemoved(t, l)
	s.Close()
}

// Only a unix stream socket that listens is one for configuration; the error names
// the descriptor. What is refused is closed.
func TestFromFileRefuses(t *testing.T) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	f, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*os.File{"a TCP socket": f, "/dev/null": null}
	for kind, name := range map[int]string{
		unix.SOCK_STREAM: "a stream socket", unix.SOCK_DGRAM: "a datagram socket", unix.SOCK_SEQPACKET: "a packet socket",
	} {
		files["half of a pair, "+name] = unixSocket(t, kind, true, false)
		files["bound, "+name] = unixSocket(t, kind, false, false)
	}
	files["listening, a packet socket"] = unixSocket(t, unix.SOCK_SEQPACKET, false, true)
	for what, f := range files {
		want := "uapi socket: " + f.Name() + " "
		if _, err := FromFile(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is still open: %v", what, err)
		}
	}
}

// unixSocket is one of a connected pair, or one that is bound, and listens.
func unixSocket(t *testing.T, kind int, pair, listens bool) *os.File {
	t.Helper()
	fd := -1
	var err error
	if pair {
		fds, e := unix.Socketpair(unix.AF_UNIX, kind, 0)
		if fd, err = fds[0], e; err == nil {
			unix.Close(fds[1])
		}
	} else if fd, err = unix.Socket(unix.AF_UNIX, kind, 0); err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(socketDir(t), "s")})
	}
	if err == nil && listens {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		t.Skip("this system has no such socket:", err)
	}
	return os.NewFile(uintptr(fd), "inherited")
}
