package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// The way into the background. A Go process cannot fork, so culvert starts
// itself again with childEnv set, and waits for a word through a pipe: the
// child makes the interface and the socket itself, and says readyWord when it
// serves, or what went wrong. Descriptors that culvert was handed are handed
// on; childEnv says under which numbers.
const (
	childEnv  = "CULVERT_BACKGROUND" // PIPE,TUN,UAPI: descriptors; -1 is none
	readyWord = "ready"
	maxWord   = 4096 // bytes of what the parent listens to
)

// parent is the process that waits for this one to serve.
type parent struct{ pipe *os.File }

// adopt is the parent, nil if there is none, and takes its descriptors. What it does
// not understand to the last byte it refuses: somebody else has set it.
func adopt(o *options) (*parent, error) {
	value := os.Getenv(childEnv)
	if value == "" {
		return nil, nil
	}
	os.Unsetenv(childEnv)
	numbers, ok := parseHandover(value)
	if !ok {
		return nil, errNotOurs
	}
	pipe := os.NewFile(uintptr(numbers[0]), "parent")
	if info, err := pipe.Stat(); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return nil, errNotOurs
	}
	o.TunFD, o.UAPIFD = numbers[1], numbers[2]
	return &parent{pipe}, nil
}

var errNotOurs = errors.New(childEnv + " is culvert's own, and not to be set")

// parseHandover reads what daemonize has written, and nothing else: three numbers,
// the first from 3 on, of different descriptors.
func parseHandover(value string) (numbers [3]int, ok bool) {
	words := strings.Split(value, ",")
	if len(words) != len(numbers) {
		return numbers, false
	}
	for i, word := range words {
		n, err := strconv.Atoi(word)
		if err != nil || strconv.Itoa(n) != word || n > maxDescriptor || n < noDescriptor {
			return numbers, false
		}
		numbers[i] = n
	}
	pipe, tun, uapi := numbers[0], numbers[1], numbers[2]
	inherited := func(n int) bool { return n == noDescriptor || n > 2 }
	return numbers, pipe > 2 && inherited(tun) && inherited(uapi) && pipe != tun && pipe != uapi && (tun != uapi || tun == noDescriptor)
}

// tell says the one word the parent waits for. More than one goes nowhere.
func (p *parent) tell(word string) error {
	_, err := io.WriteString(p.pipe, word)
	return errors.Join(err, p.pipe.Close())
}

// daemonize starts the daemon and returns when it serves. An error is why it
// does not.
func daemonize(o *options) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the program to start in the background: %w; --foreground does without", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.SysProcAttr = ownSession()
	if o.LogLevel != "" && o.level.name != "silent" {
		cmd.Stderr = os.Stderr
	}
	numbers := []string{hand(cmd, w), handFD(cmd, o.TunFD), handFD(cmd, o.UAPIFD)}
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(numbers, ","))
	keepFromChild()
	err = cmd.Start()
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot start in the background: %w", err)
	}
	return await(cmd, r)
}

// hand gives f to cmd and tells its number there.
func hand(cmd *exec.Cmd, f *os.File) string {
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return strconv.Itoa(2 + len(cmd.ExtraFiles))
}

// handFD gives a descriptor to cmd, unless it is negative.
func handFD(cmd *exec.Cmd, fd int) string {
	if fd < 0 {
		return "-1"
	}
	return hand(cmd, os.NewFile(uintptr(fd), "handed down"))
}

// await waits for the child's word.
func await(cmd *exec.Cmd, r io.Reader) error {
	word, err := io.ReadAll(io.LimitReader(r, maxWord))
	if string(word) == readyWord {
		return cmd.Process.Release()
	}
	if ended := cmd.Wait(); len(word) == 0 || err != nil {
		return fmt.Errorf("the daemon ended before it was serving: %w", errors.Join(err, ended))
	}
	return errors.New(string(word))
}
