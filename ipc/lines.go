package ipc

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// MaxLine is the longest line a client may send, in bytes without its end. The
// longest that means anything has about 100.
const MaxLine = 1024

// readBuffer is the memory a client's input goes through, in bytes.
const readBuffer = 16 << 10

// errLineTooLong ends a conversation: what follows cannot be understood.
var errLineTooLong = errors.New("a line is longer than 1024 bytes")

// newLines reads lines from r through buf. One of them lives as long as the
// connection, so that what is read ahead is kept for the next operation.
func newLines(r io.Reader, buf []byte) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(buf, len(buf))
	s.Split(splitLine)
	return s
}

// splitLine is a bufio.SplitFunc. Unlike bufio.ScanLines it keeps a carriage
// return, which no value may have, and an unfinished last line is no line.
func splitLine(data []byte, _ bool) (advance int, line []byte, err error) {
	i := bytes.IndexByte(data, '\n')
	if i > MaxLine || i < 0 && len(data) > MaxLine {
		return 0, nil, errLineTooLong
	}
	if i < 0 {
		return 0, nil, nil
	}
	return i + 1, data[:i], nil
}
