//go:build !unix || race

package pages

// Get gives n bytes (n > 0), all zero. They hold no Go pointers. Safe for
// concurrent use.
func Get(n int) []byte { return make([]byte, n) }

// Free gives back what Get gave. Nobody may touch it any more.
func Free([]byte) {}
