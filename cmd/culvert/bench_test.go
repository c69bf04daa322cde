package main

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"culvert/internal/aead"
	"culvert/internal/cryptobench"
)

// benchRows is a command of scripts: bench-rows [-generic] SIZE... wants that the
// last standard output is JSON of a whole run with rows for those sizes, of each kernel
// or only of generic, and of nothing else.
func benchRows(ts *testscript.TestScript, _ bool, args []string) {
	var r cryptobench.Report
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &r))
	kernels := aead.Kernels()
	if args[0] == "-generic" {
		kernels, args = []string{aead.Generic}, args[1:]
	}
	missing := map[cryptobench.Row]bool{}
	for _, kernel := range kernels {
		for _, operation := range []string{cryptobench.Seal, cryptobench.Open} {
			for _, messages := range []int{1, 32} {
				for _, arg := range args {
					size, err := strconv.Atoi(arg)
					ts.Check(err)
					missing[cryptobench.Row{Kernel: kernel, Operation: operation, Size: size, Messages: messages}] = true
				}
			}
		}
	}
	for _, row := range r.Rows {
		which := cryptobench.Row{Kernel: row.Kernel, Operation: row.Operation, Size: row.Size, Messages: row.Messages}
		if !missing[which] || !(row.NsPerPacket > 0 && row.GBPerS > 0 && row.Ratio > 0) || row.Slices < 3 {
			ts.Fatalf("a row that is not wanted: %+v", row)
		}
		delete(missing, which)
	}
	if len(missing) > 0 {
		ts.Fatalf("rows are missing: %+v", slices.Collect(maps.Keys(missing)))
	}
	if !r.Complete || r.GOARCH != runtime.GOARCH || r.Kernel != aead.Kernel() || r.Version == "" || r.CPU == "" {
		ts.Fatalf("complete: %v, %q, kernel %q, version %q, CPU %q", r.Complete, r.GOARCH, r.Kernel, r.Version, r.CPU)
	}
}

// The names of the JSON are promised by culvert(8): programs read them.
func TestBenchJSON(t *testing.T) {
	text, err := json.Marshal(cryptobench.Report{Rows: []cryptobench.Row{{}}})
	const want = `{"version":"","cpu":"","goarch":"","kernel":"","complete":false,"rows":[{"kernel":"","operation":"","size_bytes":0,` +
		`"messages_per_call":0,"ns_per_packet":0,"gb_per_s":0,"ratio":0,"slices":0}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

// SIGINT ends it soon, with what was measured, and says so: here while the second of
// 1,600 steps is measured, which together would take a minute.
func TestBenchInterrupted(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("no signals:", err)
	}
	out, notes := swap(t, &os.Stdout), swap(t, &os.Stderr)
	said := make(chan string)
	go func() { // ends when the run does
		var last string
		for lines := bufio.NewScanner(notes); lines.Scan(); {
			if last = lines.Text(); strings.HasPrefix(last, "2 of 1600: ") {
				_ = self.Signal(os.Interrupt)
			}
		}
		said <- last
	}()
	printed := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(out)
		printed <- text
	}()
	args := []string{"crypto", "--json", "--seconds=60"}
	for size := range 400 {
		args = append(args, "--size="+strconv.Itoa(size+1))
	}
	code := runBench(args)
	os.Stdout.Close()
	os.Stderr.Close()
	var r cryptobench.Report
	if err := json.Unmarshal(<-printed, &r); err != nil {
		t.Fatal(err)
	}
	if last := <-said; code != exitFailure || last != "culvert: interrupted" {
		t.Errorf("status %d, last words %q", code, last)
	}
	if n := len(aead.Kernels()); r.Complete || len(r.Rows) < n || len(r.Rows)%n != 0 || len(r.Rows) > 400*n {
		t.Errorf("%d rows, complete: %v", len(r.Rows), r.Complete)
	}
}

// swap makes *f a pipe until the end of the test, and gives its other end.
func swap(t *testing.T, f **os.File) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := *f
	*f = w
	t.Cleanup(func() { *f = old; r.Close(); w.Close() })
	return r
}
