//go:build linux

package memscan

import (
	"reflect"
	"strings"
	"unsafe"
)

// Inside is a field of what p points to, or of a field of that, and so on, exported or not, as the key that it is or points
// to: "state.private".
func Inside(p any, path string) *[32]byte {
	v := reflect.ValueOf(p).Elem()
	for name := range strings.SplitSeq(path, ".") {
		v = v.FieldByName(name)
	}
	if v.Kind() == reflect.Pointer {
		return (*[32]byte)(v.UnsafePointer())
	}
	return (*[32]byte)(unsafe.Pointer(v.UnsafeAddr()))
}
