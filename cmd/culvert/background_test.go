package main

import "testing"

// What the variable holds is read to the last byte, as it was written.
func TestParseHandover(t *testing.T) {
	for value, want := range map[string][3]int{
		"3,-1,-1": {3, -1, -1}, "3,4,5": {3, 4, 5}, "3,-1,4": {3, -1, 4}, "2147483647,3,-1": {2147483647, 3, -1},
	} {
		if got, ok := parseHandover(value); !ok || got != want {
			t.Errorf("%q: %v, %v", value, got, ok)
		}
	}
	for _, value := range []string{
		"1", "3", "3,4", "3,4,5,6", "3,4,5x", " 3,4,5", "3, 4,5", "3,4,5\n", "+3,4,5", "03,4,5", "3,4,-2", "3,4,", "0x3,4,5",
		"2,3,4", "-1,3,4", "3,0,-1", "3,-1,2", "3,3,4", "3,4,3", "3,4,4", "4294967299,-1,-1", "3,4294967300,-1", "3,-1,2147483648",
	} {
		if got, ok := parseHandover(value); ok {
			t.Errorf("%q is taken: %v", value, got)
		}
	}
}
