package ratelimiter

import "testing"

func TestLoad(t *testing.T) {
	type step struct {
		ms, queued, capacity int  // capacity 0: nothing is noted
		want                 bool // under load then?
	}
	for name, steps := range map[string][]step{
		"zero value":         {{0, 0, 0, false}},
		"an eighth":          {{0, 511, 4096, false}, {0, 512, 4096, true}},
		"full":               {{0, 4096, 4096, true}},
		"for a second":       {{0, 512, 4096, true}, {999, 0, 0, true}, {1000, 0, 0, false}},
		"a second after":     {{0, 512, 4096, true}, {900, 600, 4096, true}, {1899, 0, 4096, true}, {1900, 0, 0, false}},
		"less does not end":  {{0, 512, 4096, true}, {10, 0, 4096, true}, {500, 511, 4096, true}, {1000, 0, 0, false}},
		"an empty small one": {{0, 0, 4, false}, {0, 1, 4, true}},
	} {
		var l Load
		for _, s := range steps {
			if s.capacity != 0 {
				l.Note(at(s.ms), s.queued, s.capacity)
			}
			if got := l.Under(at(s.ms)); got != s.want {
				t.Errorf("%s: at %d ms: %v, want %v", name, s.ms, got, s.want)
			}
		}
	}
}
