//go:build !linux

package confine

import "errors"

// Apply does nothing, and says so: what there is here is about Linux.
func Apply(o Options) (State, error) {
	if o.User != nil {
		return State{}, errors.New("confine: becoming another user is only for Linux")
	}
	return State{Why: Unsupported, Capabilities: []string{}}, nil
}
