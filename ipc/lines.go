package ipc

import (
	"bytes"
	"errors"
	"io"
)

// MaxLine is the longest line a client may send, in bytes without its end. The
// longest that means anything has about 100.
const MaxLine = 1024

// readBuffer is the memory a client's input goes through, in bytes.
const readBuffer = 16 << 10

// maxEmptyReads is how many reads in a row may bring nothing.
const maxEmptyReads = 100

// errLineTooLong ends a conversation: what follows cannot be understood.
var errLineTooLong = errors.New("a line is longer than 1024 bytes")

// lines reads lines, and leaves nothing of them: keys are among them. A line is overwritten when the next is
// asked for, and so is what was moved. (A bufio.Scanner leaves both.) One of them lives as long as the
// connection, so that what is read ahead is kept for the next operation. One owner.
type lines struct {
	r          io.Reader
	buf        []byte
	start, end int    // of what is read ahead
	line       []byte // the last one, part of buf
	err        error  // of r, when what is read ahead has no whole line any more; io.EOF is its end
}

func newLines(r io.Reader) *lines { return &lines{r: r, buf: make([]byte, readBuffer)} }

// Scan goes to the next line; false is the end, or an error. Unlike bufio.ScanLines it keeps a carriage
// return, which no value may have, and an unfinished last line is no line.
func (l *lines) Scan() bool {
	clear(l.line)
	l.line = nil
	for empty := 0; ; {
		i := bytes.IndexByte(l.buf[l.start:l.end], '\n')
		switch {
		case i > MaxLine || i < 0 && l.end-l.start > MaxLine:
			l.err = errLineTooLong
			return false
		case i >= 0:
			l.line = l.buf[l.start : l.start+i]
			l.start += i + 1
			return true
		case l.err != nil:
			return false
		}
		l.makeRoom()
		var n int
		n, l.err = l.r.Read(l.buf[l.end:])
		l.end += n
		if empty++; n > 0 {
			empty = 0
		} else if empty == maxEmptyReads && l.err == nil {
			l.err = io.ErrNoProgress
		}
	}
}

// makeRoom moves what is read ahead, less than a line, to the beginning.
func (l *lines) makeRoom() {
	n := copy(l.buf, l.buf[l.start:l.end])
	clear(l.buf[n:l.end])
	l.start, l.end = 0, n
}

// Bytes is the line without its end, until the next Scan or wipe.
func (l *lines) Bytes() []byte { return l.line }

// Err is why Scan returned false; nil at the end of the input.
func (l *lines) Err() error {
	if l.err == io.EOF {
		return nil
	}
	return l.err
}

// wipe overwrites the last line and what is read ahead. It is the end of l.
func (l *lines) wipe() {
	clear(l.buf)
	l.line, l.start, l.end = nil, 0, 0
	if l.err == nil {
		l.err = io.EOF
	}
}
