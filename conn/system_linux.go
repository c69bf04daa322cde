package conn

// System is the best Network of this platform: on Linux, batch I/O with
// UDP GSO and GRO.
func System(opts Options) Network { return NewLinux(opts) }
