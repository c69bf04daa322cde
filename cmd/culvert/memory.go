package main

import (
	"runtime/metrics"

	"culvert/device"
)

// part is a part of the resident memory.
type part struct {
	Kind  string `json:"kind"`
	Count int    `json:"count,omitempty"` // 0: nothing to count
	Bytes int64  `json:"bytes"`
}

// memoryParts says what the resident memory is made up of: what the device keeps, the
// rest of the heap's objects, what the heap has without objects, and all else. Files are
// those the program is mapped from. The last part makes the sum right: it is negative
// where memory that others count was never touched.
func memoryParts(resident, files, packets int64, held []device.Holding) []part {
	if held == nil || resident == 0 {
		return nil
	}
	var parts []part
	sum := int64(0)
	add := func(kind string, count int, bytes int64) {
		parts = append(parts, part{kind, count, bytes})
		sum += bytes
	}
	for _, h := range held {
		add(h.Kind, h.Count, h.Bytes)
	}
	h := readHeap()
	add("other_objects", 0, h.objects-sum)
	add("heap_fragments", 0, h.fragments)
	add("heap_free", 0, h.free)
	add("runtime", 0, h.runtime)
	add("packets", 0, packets)
	add("files", 0, files)
	add("rest", 0, resident-sum)
	return parts
}

// heapUse is what Go's runtime has of the system, in bytes.
type heapUse struct {
	objects   int64 // that live, or are garbage not found yet
	fragments int64 // no objects, between those
	free      int64 // wholly free, and not given back
	runtime   int64 // all else: stacks, tables of the heap
}

func readHeap() heapUse {
	all := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(all)
	n := func(i int) int64 { return int64(all[i].Value.Uint64()) }
	return heapUse{n(0), n(1), n(2), n(4) - n(0) - n(1) - n(2) - n(3)}
}
