package tun

import (
	"culvert/internal/offload"

	"golang.org/x/sys/unix"
)

// setOffloads asks for as much as the kernel allows, and remembers what it
// does not. USO came with Linux 6.2. A file that was inherited may have any of
// them on, so what is not wanted is turned off.
func (d *linuxDevice) setOffloads(fd int, opts Options) {
	noTSO, noUSO, noGRO := unwanted(opts.NoTSO), unwanted(opts.NoUSO), unwanted(opts.NoGRO)
	if !d.vnet {
		noTSO, noUSO = or(noTSO, offload.Unsupported), or(noUSO, offload.Unsupported)
	}
	d.forbidMerge(or(noTSO, noGRO), tcp4, tcp6) // needs nothing of what follows
	if d.vnet {
		if noUSO == "" && !d.askFor(fd, noTSO == "", true) {
			noUSO = offload.Unsupported
		}
		if noUSO != "" && !d.askFor(fd, noTSO == "", false) {
			noTSO = or(noTSO, offload.Unsupported)
			_ = d.sys.setOffload(fd, 0)
		}
	}
	// A kernel that has no USO knows no UDP super-packets.
	d.forbidMerge(or(noUSO, noGRO), udp4, udp6)
	d.readTSO.Forbid(noTSO)
	d.readUSO.Forbid(noUSO)
}

func unwanted(no bool) string {
	if no {
		return offload.Option
	}
	return ""
}

// or is the first reason there is.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (d *linuxDevice) forbidMerge(why string, which ...kind) {
	for _, k := range which {
		d.merge[k].Forbid(why)
	}
}

// askFor reports whether the kernel agreed to hand over checksums to be
// computed, and super-packets.
func (d *linuxDevice) askFor(fd int, tso, uso bool) bool {
	want := unix.TUN_F_CSUM
	if tso {
		want |= unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	}
	if uso {
		want |= unix.TUN_F_USO4 | unix.TUN_F_USO6
	}
	return d.sys.setOffload(fd, want) == nil
}

// isMergeFault reports whether err may be due to packets being merged. EIO also
// says that the interface is down: then the single packets fail too, and
// nothing is remembered.
func isMergeFault(err unix.Errno) bool {
	return err == unix.EINVAL || err == unix.EIO || err == unix.EMSGSIZE || err == unix.EOPNOTSUPP
}

// forgive gives what was refused another chance: MTU or link are others now.
func (d *linuxDevice) forgive() {
	for k := range d.merge {
		d.merge[k].Forgive()
	}
}

// Offloads tells the state of each. Any goroutine may call it.
func (d *linuxDevice) Offloads() []offload.State {
	return []offload.State{
		d.readTSO.State("tun", "read_tso"), d.readUSO.State("tun", "read_uso"),
		d.merge[tcp4].State("tun", "merge_tcp4"), d.merge[tcp6].State("tun", "merge_tcp6"),
		d.merge[udp4].State("tun", "merge_udp4"), d.merge[udp6].State("tun", "merge_udp6"),
	}
}
