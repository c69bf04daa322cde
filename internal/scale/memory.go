//go:build linux

package main

import (
	"encoding/json"

	"culvert/internal/nstest"
	"culvert/ipc"
)

// part is a part of a daemon's resident memory, as it tells itself.
type part struct {
	Kind  string `json:"kind"`
	Count int    `json:"count,omitempty"`
	Bytes int64  `json:"bytes"`
}

// told is what we read of the status of a daemon; nothing of one that tells none.
type told struct {
	Drops   map[string]uint64
	Memory  []part
	Sockets struct {
		RouteChecks int64 `json:"route_checks"`
	}
}

func ask(h *nstest.Host) (s told) {
	text, err := ipc.AskStatus(h.WG)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return told{}
	}
	return s
}

// drops is what the daemon counted by reason.
func drops(h *nstest.Host) map[string]uint64 { return ask(h).Drops }

// since is what was counted, without what was not.
func since(now, before map[string]uint64) map[string]uint64 {
	more := make(map[string]uint64)
	for reason, n := range now {
		if n > before[reason] {
			more[reason] = n - before[reason]
		}
	}
	return more
}

// composition is a column of the table of memory.
type composition struct {
	what  string
	peers int
	parts []part
}

// memoryTable has a row for each kind that takes something in any of the columns, and
// the sums.
func memoryTable(columns []composition) (t table) {
	if len(columns) == 0 {
		return nil
	}
	head, sums, peers := []string{"bytes a peer"}, []string{"sum: RSS"}, []string{"of peers"}
	var kinds []string
	cells := map[string][]string{}
	for i, c := range columns {
		head = append(head, c.what)
		sum := int64(0)
		for _, p := range c.parts {
			sum += p.Bytes
			if cells[p.Kind] == nil {
				kinds = append(kinds, p.Kind)
				cells[p.Kind] = make([]string, len(columns))
			}
			if p.Bytes != 0 {
				cells[p.Kind][i] = number(float64(p.Bytes) / float64(c.peers))
			}
		}
		sums = append(sums, number(float64(sum)/float64(c.peers)))
		peers = append(peers, thousands(int64(c.peers)))
	}
	t.row(head...)
	for _, k := range kinds {
		for _, cell := range cells[k] {
			if cell != "" {
				t.row(append([]string{k}, cells[k]...)...)
				break
			}
		}
	}
	t.row(sums...)
	t.row(peers...)
	return t
}
