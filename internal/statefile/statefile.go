// Package statefile keeps the label of the last handshake initiation in a file,
// over restarts of the daemon.
package statefile

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"culvert/noise"
)

// File is a state file: one line, the label in hexadecimal (24 digits). It
// holds no secret. Not safe for concurrent use.
type File struct{ path string }

// New is the state file of an interface in a directory, which is made (0700) if
// it is missing.
func New(dir, ifname string) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return &File{filepath.Join(dir, ifname+".stamp")}, nil
}

// maxFile bounds what is read of a state file, in bytes: whatever it has become.
const maxFile = 64

// Load reads the label; the zero label if there is no file yet. What is no file
// but, say, a pipe, is not opened: that could wait for ever.
func (f *File) Load() (stamp noise.Timestamp, err error) {
	text, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return stamp, nil
	}
	if err != nil {
		return stamp, fmt.Errorf("state file: %w", err)
	}
	raw, err := hex.DecodeString(strings.TrimSuffix(string(text), "\n"))
	if err != nil || len(raw) != len(stamp) || !noise.Timestamp(raw).Valid() {
		return stamp, fmt.Errorf("state file %s is damaged: it should hold %d hexadecimal digits, a TAI64N label; remove it to start without", f.path, 2*len(stamp))
	}
	return noise.Timestamp(raw), nil
}

func (f *File) read() ([]byte, error) {
	if info, err := os.Stat(f.path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file; remove it to start without", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// Save replaces the file whole: after a crash it holds the old label or the new.
func (f *File) Save(stamp noise.Timestamp) error {
	t, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	defer os.Remove(t.Name()) // gone already if all went well
	_, err = fmt.Fprintf(t, "%x\n", stamp[:])
	if err = errors.Join(err, t.Sync(), t.Close()); err == nil {
		err = os.Rename(t.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}
