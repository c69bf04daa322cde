//go:build !linux

package confine

// Apply does nothing, and says so: what there is here is about Linux.
func Apply(Options) (State, error) {
	return State{Why: Unsupported, Capabilities: []string{}}, nil
}
