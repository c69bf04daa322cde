package statefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/noise"
)

// What is saved is loaded by the next run, and nothing else is left behind.
func TestSaveLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	f, err := New(dir, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if stamp, err := f.Load(); err != nil || stamp != (noise.Timestamp{}) {
		t.Fatalf("a missing file gives %x, %v", stamp, err)
	}
	for i := range 3 {
		want := noise.NewTimestamp(time.Unix(int64(i)*1000, 0))
		if err := f.Save(want); err != nil {
			t.Fatal(err)
		}
		again, _ := New(dir, "wg0")
		if got, err := again.Load(); err != nil || got != want {
			t.Fatalf("saved %x, loaded %x, %v", want, got, err)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Fatalf("%d files in the directory", len(files))
	}
}

// A damaged file is an error that names it, and is left as it is; an unusable
// directory is named too, and a failed save leaves the old label.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	f, _ := New(dir, "wg0")
	for _, text := range []string{
		"", "zz", "400000", strings.Repeat("40", 13), " " + strings.Repeat("00", 12), strings.Repeat("00", 12) + "\n\n",
		strings.Repeat("00", 12) + "\n" + strings.Repeat(" ", maxFile),
		"8000000000000000" + "00000000", "4000000000000000" + "3b9aca00", // no labels: Next would go back from them
	} {
		os.WriteFile(filepath.Join(dir, "wg0.stamp"), []byte(text), 0o600)
		if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), "wg0.stamp") {
			t.Errorf("%q gives error %v", text, err)
		}
	}
	for _, text := range []string{strings.Repeat("00", 12), "40000000deadbeef3b9ac9ff\n", "7FFFFFFFFFFFFFFF00000000"} {
		os.WriteFile(filepath.Join(dir, "wg0.stamp"), []byte(text), 0o600)
		if _, err := f.Load(); err != nil {
			t.Errorf("%q gives error %v", text, err)
		}
	}
	if _, err := New(filepath.Join(dir, "wg0.stamp", "x"), "wg0"); err == nil {
		t.Error("a directory below a file is no error")
	}
	os.RemoveAll(dir)
	if err := f.Save(noise.Timestamp{1}); err == nil {
		t.Error("saving into a removed directory is no error")
	}
}

// A state file that is endless, or waits for a writer, or is a directory, is refused
// and not read.
func TestIsNoFile(t *testing.T) {
	dir := t.TempDir()
	f, err := New(dir, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "wg0.stamp")
	big, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(1<<40), big.Close()); err != nil { // a hole: it takes no space, but to read it would take 1 TiB
		t.Skip("no such file here:", err)
	}
	if _, err := f.Load(); err == nil {
		t.Error("a file of 1 TiB is read")
	}
	os.Remove(path)
	for what, make := range makers {
		if err := make(path); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := f.Load(); err == nil || !strings.Contains(err.Error(), "is not a file") {
			t.Errorf("%s: %v", what, err)
		}
		os.Remove(path)
	}
}
