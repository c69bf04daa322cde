package conntest

import (
	stdheap "container/heap"
	"time"
)

// arrival is a datagram and when it arrives.
type arrival struct {
	at    time.Time
	order uint64
	datagram
}

// heap holds arrivals, the next one first.
type heap []arrival

func (h *heap) push(a arrival) { stdheap.Push((*byTime)(h), a) }
func (h *heap) pop() arrival   { return stdheap.Pop((*byTime)(h)).(arrival) }

// byTime is heap as container/heap wants it.
type byTime []arrival

func (h byTime) Len() int { return len(h) }
func (h byTime) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)   { *h = append(*h, x.(arrival)) }
func (h *byTime) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = arrival{}
	*h = old[:len(old)-1]
	return last
}
