package device

import "runtime"

// A job is one batch to seal or one group to open: one or the other is set.
type job struct {
	out *outBatch
	in  *inGroup
}

// workQueue bounds the jobs that wait for a worker.
const workQueue = 64

// maxWaiting bounds the batches of one peer that wait for its sender or
// receiver: beyond it the reader does the work itself, and the outbound one waits
// for room, so it slows down instead of the queue growing. (Receive batches are
// large and few: their budget bounds them.)
const maxWaiting = 16

// defaultWorkers is how many workers seal and open: as many as there are cores
// beyond the two that the readers of TUN and socket keep busy. With two cores
// or fewer handing over buys no other core's work, so there are none.
func defaultWorkers() int { return max(0, runtime.GOMAXPROCS(0)-2) }

// work seals and opens until the queue is closed.
func (d *Device) runWorker() {
	defer d.workers.Done()
	for j := range d.work {
		if j.out != nil {
			j.out.seal()
			j.out.sealed <- struct{}{}
		} else {
			j.in.open()
			j.in.opened <- struct{}{}
		}
	}
}
