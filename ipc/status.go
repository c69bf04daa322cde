package ipc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	statusRequest = "culvert_status=1"
	statusKey     = "status="
)

// report writes what r tells; json.Marshal writes no line feeds.
func (p *printer) report(r Reporter) error {
	text, err := json.Marshal(r.Report())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.w, "%s%s\n", statusKey, text)
	return err
}

// Limits of AskStatus: how long a daemon may take, and the size of its answer
// in bytes.
const (
	statusPatience = 5 * time.Second
	maxStatus      = 16 << 20 // 256 destinations without GSO take 40 KiB per socket
)

var (
	// ErrNotServed says that nobody answers for an interface.
	ErrNotServed = errors.New("no daemon serves it")
	// ErrNoStatus says that who answers has no status to tell.
	ErrNoStatus = errors.New("its daemon tells no status: it is not culvert, or an old one")
)

// AskStatus asks the daemon of the interface name for what its Reporter tells.
// Errors wrap ErrNotServed, ErrNoStatus, fs.ErrPermission, or what went wrong
// on the way.
func AskStatus(name string) (json.RawMessage, error) { return AskStatusIn(SocketDir, name) }

// AskStatusIn is AskStatus with another directory.
func AskStatusIn(dir, name string) (json.RawMessage, error) {
	c, err := net.Dial("unix", filepath.Join(dir, name+".sock"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotServed
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(statusPatience)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, statusRequest+"\n\n"); err != nil {
		return nil, err
	}
	return readStatus(c)
}

// readStatus reads the reply up to its empty line.
func readStatus(r io.Reader) (json.RawMessage, error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxStatus))
	lines.Buffer(nil, maxStatus)
	var status json.RawMessage
	for lines.Scan() {
		line := lines.Bytes()
		if text, ok := bytes.CutPrefix(line, []byte(statusKey)); ok && json.Valid(text) {
			status = bytes.Clone(text)
		}
		if string(line) == "errno=0" && status != nil {
			return status, nil
		}
	}
	if errors.Is(lines.Err(), os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("its daemon does not answer: %w", lines.Err())
	}
	return nil, ErrNoStatus // refused, or hung up on
}

// Served are the interfaces for which there is a socket, in order. Whether
// somebody answers there is another matter.
func Served() ([]string, error) { return servedIn(SocketDir) }

func servedIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".sock"); ok && e.Type() == fs.ModeSocket {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}
