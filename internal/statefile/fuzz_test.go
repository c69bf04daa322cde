package statefile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad reads whatever may be in a state file. Its laws: what is taken is a label of
// which a later one can be made, and saved again it is the same text, case and the
// end of the line aside; what is refused is left as it is.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		"", "\n", "400000006553f10a00000000\n", "400000006553F10A3b9ac9ff", "400000006553f10a3b9aca00", "400000006553f10a00000000\r\n",
		"ffffffffffffffff00000000\n", "7fffffffffffffff3b9ac9ff", "4000", strings.Repeat("0", 24), strings.Repeat("0", 100), "0x40000006553f10a00000000",
	} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := New(dir, "wg0")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "wg0.stamp")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		stamp, err := file.Load()
		if err != nil {
			if left, _ := os.ReadFile(path); !bytes.Equal(left, text) || !strings.Contains(err.Error(), path) {
				t.Fatalf("%q is refused (%v), and now %q", text, err, left)
			}
			return
		}
		if !stamp.Next().After(stamp) {
			t.Fatalf("%q is taken, and no label comes after it", text)
		}
		if err := file.Save(stamp); err != nil {
			t.Fatal(err)
		}
		saved, err := os.ReadFile(path)
		if want := strings.ToLower(strings.TrimSuffix(string(text), "\n")) + "\n"; err != nil || string(saved) != want {
			t.Fatalf("%q is saved as %q, %v", text, saved, err)
		}
	})
}
