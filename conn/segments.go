package conn

// Datagrams is how many datagrams m is.
func (m *Message) Datagrams() int { return datagrams(len(m.Data), m.Segment) }

// Datagrams is how many datagrams r is.
func (r *Run) Datagrams() int { return datagrams(len(r.Data), r.Segment) }

// datagrams is how many pieces of size segment make n bytes: at least 1, as a
// datagram may be empty.
func datagrams(n, segment int) int {
	if segment <= 0 || segment >= n {
		return 1
	}
	return (n + segment - 1) / segment
}
