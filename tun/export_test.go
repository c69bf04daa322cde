package tun

// Merger is merger for the tests of package tun_test.
type Merger struct{ m merger }

// Off turns off merging of TCP (false) or UDP (true).
func (m *Merger) Off(udp bool) {
	for k := range kinds {
		if k.udp() == udp {
			m.m.off[k] = true
		}
	}
}

// Find looks for runs and returns how many there are.
func (m *Merger) Find(bufs [][]byte, offset int) int {
	m.m.find(bufs, offset)
	return m.m.n
}

// Members are the packets of run i.
func (m *Merger) Members(i int) (members []int) {
	for k := m.m.runs[i].first; k >= 0; k = m.m.next[k] {
		members = append(members, int(k))
	}
	return members
}

// Written is what the kernel would be given for run i, with its virtio header.
func (m *Merger) Written(i int) []byte {
	r := &m.m.runs[i]
	m.m.seal(r)
	var out []byte
	for k := r.first; k >= 0; k = m.m.next[k] {
		piece := m.m.bufs[k][m.m.offset-virtioLen:]
		if len(out) > 0 {
			piece = piece[virtioLen+r.header:]
		}
		out = append(out, piece...)
	}
	return out
}

// Seal seals run i.
func (m *Merger) Seal(i int) { m.m.seal(&m.m.runs[i]) }

// Restore undoes Written.
func (m *Merger) Restore(i int) { m.m.unseal(&m.m.runs[i]) }

const (
	MergeBatch     = mergeBatch
	MergeFlows     = mergeFlows
	MergePieces    = mergePieces
	MergeDatagrams = mergeDatagrams
)
