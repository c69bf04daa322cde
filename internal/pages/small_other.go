//go:build unix && !linux && !race

package pages

func small([]byte) {}
