package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"culvert/device"
	"culvert/internal/aead"
	"culvert/internal/confine"
	"culvert/tun"
)

// options is the command line. Every flag is an environment variable too, as
// wg-quick(8) passes no flags. The names with WG_ are wireguard-go's.
type options struct {
	Interface  string `arg:"" name:"ifname" help:"Name of the interface to make: 1 to 15 bytes. %d in it becomes the first number that is free."`
	Foreground bool   `short:"f" env:"WG_PROCESS_FOREGROUND" help:"Stay in the foreground. Otherwise culvert returns once the daemon it starts is serving."`
	LogLevel   string `env:"LOG_LEVEL" placeholder:"LEVEL" help:"What to log on standard error: silent, error, warn, info (as if not given), or debug (also verbose). In the background nothing is logged unless this is given. SIGUSR1 goes to the next level."`
	MTU        int    `name:"mtu" env:"CULVERT_MTU" placeholder:"BYTES" help:"MTU of the interface at the start: 1420 if not given."`

	Memory   int    `name:"memory" env:"CULVERT_MEMORY" placeholder:"MIB" help:"Bound on the memory for packets in flight, in MiB: 4 and 2 per core if not given. What does not fit is dropped."`
	Workers  int    `name:"workers" env:"CULVERT_WORKERS" placeholder:"N" help:"Threads that encrypt beside those that read: one per core beyond two if not given, -1 for none."`
	AEAD     string `name:"aead" env:"CULVERT_AEAD" placeholder:"KERNEL" help:"What to encrypt batches with: avx512, avx2, or generic. The best that the processor has and that passes a test if not given."`
	Queues   int    `name:"queues" env:"CULVERT_QUEUES" placeholder:"N" default:"1" help:"Queues of the interface, and sockets per address family, each with a thread of its own: 1 if not given. Only on Linux, and for an interface that culvert makes."`
	StateDir string `name:"state-dir" type:"path" env:"CULVERT_STATE_DIR,STATE_DIRECTORY" placeholder:"DIR" help:"Keep the time of the last handshake in DIR, so that a clock that goes back over a restart locks nobody out."`

	NoConfine bool `name:"no-confine" group:"Confinement" env:"CULVERT_NO_CONFINE" help:"Keep all privileges. Otherwise culvert gives up, before it serves, what it does not go on to need; culvert status tells. Only on Linux."`

	User string `name:"user" group:"Confinement" env:"CULVERT_USER" placeholder:"NAME" help:"Become this user before serving, who gets the state directory. The socket's file can only be removed at the end if /var/run/wireguard is that user's too. Only on Linux, and for root."`

	NoGSO    bool `name:"no-gso" group:"Offloads" env:"CULVERT_NO_GSO" help:"Send every datagram by itself (no UDP segmentation offload)."`
	ForceGSO bool `name:"force-gso" group:"Offloads" env:"CULVERT_FORCE_GSO" help:"UDP segmentation offload also on a kernel that is known to damage what it segments: Linux 7.0.0 to 7.1.4."`
	NoGRO    bool `name:"no-gro" group:"Offloads" env:"CULVERT_NO_GRO" help:"Receive every datagram by itself, and merge no packets for the interface."`
	NoTSO    bool `name:"no-tso" group:"Offloads" env:"CULVERT_NO_TSO" help:"No TCP super-packets on the interface."`
	NoUSO    bool `name:"no-uso" group:"Offloads" env:"CULVERT_NO_USO" help:"No UDP super-packets on the interface."`

	TunFD    int    `name:"tun-fd" group:"For programs that start culvert" env:"WG_TUN_FD" placeholder:"N" default:"-1" help:"Use descriptor N, an open TUN interface; its MTU is left alone unless given."`
	UAPIFD   int    `name:"uapi-fd" group:"For programs that start culvert" env:"WG_UAPI_FD" placeholder:"N" default:"-1" help:"Use descriptor N, a listening unix socket, for configuration."`
	NameFile string `name:"tun-name-file" group:"For programs that start culvert" env:"WG_TUN_NAME_FILE" placeholder:"FILE" help:"Write the name of the interface to FILE, where names are dynamic."`

	Version kong.VersionFlag `help:"Print the version and exit."`

	level level         // LogLevel, parsed
	user  *confine.User // User, looked up; nil if not given
}

const description = `Culvert is a userspace WireGuard daemon. It makes the interface, and wg(8), wg-quick(8) and ip(8) configure it. To have wg-quick use it: WG_QUICK_USERSPACE_IMPLEMENTATION=culvert.

It ends, and takes the interface and its socket /var/run/wireguard/IFNAME.sock away, on SIGTERM, SIGINT or SIGHUP, when the interface is deleted, and when the socket's file is deleted. SIGUSR2 logs counters: packets dropped by reason, memory, offloads.

culvert status [IFNAME] shows them, and more; see culvert status --help. culvert bench crypto measures what packets are encrypted with on this machine; see culvert bench crypto --help. (Interfaces of those names, and of help and version: culvert -- status.)`

// parse reads the command line and the environment. --help and --version end
// the process.
func parse(args []string) (o options, err error) {
	parser, err := kong.New(&o, kong.Name("culvert"), kong.Description(description),
		kong.Vars{"version": "culvert " + versionString()})
	if err != nil {
		return o, fmt.Errorf("BUG: %w", err)
	}
	forgetEmpty(parser.Model.Flags)
	parser.Stderr = io.Discard
	if _, err = parser.Parse(args); err != nil {
		return o, err
	}
	return o, o.check()
}

// forgetEmpty makes an empty variable as good as none.
func forgetEmpty(flags []*kong.Flag) {
	for _, f := range flags {
		for _, name := range f.Envs {
			if os.Getenv(name) == "" {
				os.Unsetenv(name)
			}
		}
	}
}

// MTUs a TUN interface can have on Linux.
const (
	minMTU = 68
	maxMTU = 65535
)

// check checks what the parser does not.
func (o *options) check() (err error) {
	if err := checkName(o.Interface); err != nil {
		return err
	}
	if o.MTU != 0 && (o.MTU < minMTU || o.MTU > maxMTU) {
		return fmt.Errorf("--mtu (CULVERT_MTU) must be from %d to %d, not %d", minMTU, maxMTU, o.MTU)
	}
	if o.Queues < 1 || o.Queues > tun.MaxQueues {
		return fmt.Errorf("--queues (CULVERT_QUEUES) must be from 1 to %d, not %d", tun.MaxQueues, o.Queues)
	}
	if o.Queues > 1 && o.TunFD >= 0 {
		return errors.New("--queues (CULVERT_QUEUES) is for an interface that culvert makes, not for the one of --tun-fd (WG_TUN_FD)")
	}
	if least := minMemory * o.Queues; o.Memory != 0 && (o.Memory < least || o.Memory > maxMemory) {
		return fmt.Errorf("--memory (CULVERT_MEMORY) must be from %d to %d MiB with --queues=%d, not %d", least, maxMemory, o.Queues, o.Memory)
	}
	if o.Workers < -1 || o.Workers > maxWorkers {
		return fmt.Errorf("--workers (CULVERT_WORKERS) must be from -1 to %d, not %d", maxWorkers, o.Workers)
	}
	if err := o.checkDescriptors(); err != nil {
		return err
	}
	if err := o.lookUpUser(); err != nil {
		return fmt.Errorf("--user (CULVERT_USER): %w", err)
	}
	if err := aead.Use(o.AEAD); err != nil {
		return fmt.Errorf("--aead (CULVERT_AEAD) %w", err)
	}
	o.level, err = parseLevel(o.LogLevel)
	return err
}

// What errors call descriptors, whose numbers are others in the background.
const (
	tunFDName  = "--tun-fd (WG_TUN_FD)"
	uapiFDName = "--uapi-fd (WG_UAPI_FD)"
)

type descriptor struct {
	name string
	fd   int
}

func (o *options) descriptors() [2]descriptor {
	return [...]descriptor{{tunFDName, o.TunFD}, {uapiFDName, o.UAPIFD}}
}

// checkOpen refuses descriptors that are not there, before anything is opened that
// could get their numbers.
func (o *options) checkOpen() error {
	for _, d := range o.descriptors() {
		if d.fd != noDescriptor && !isOpen(d.fd) {
			return fmt.Errorf("%s: descriptor %d is not open", d.name, d.fd)
		}
	}
	return nil
}

// checkDescriptors refuses numbers that are none: the kernel takes the lower 32 bits of
// one that is too large, and what is meant twice would be closed twice.
func (o *options) checkDescriptors() error {
	for _, d := range o.descriptors() {
		if d.fd < noDescriptor || d.fd > maxDescriptor {
			return fmt.Errorf("%s must be from 0 to %d, or %d for none, not %d", d.name, maxDescriptor, noDescriptor, d.fd)
		}
	}
	if o.TunFD != noDescriptor && o.TunFD == o.UAPIFD {
		return fmt.Errorf("%s and %s are both descriptor %d", tunFDName, uapiFDName, o.TunFD)
	}
	return nil
}

// Numbers of descriptors: the largest that a system call can be given, and none.
const (
	maxDescriptor = math.MaxInt32
	noDescriptor  = -1
)

// Bounds of --memory, in MiB, and of --workers.
const (
	minMemory  = device.MinBudget >> 20 // per queue
	maxMemory  = 1 << 20
	maxWorkers = 1024
)

// maxName is IFNAMSIZ of Linux without the NUL, in bytes.
const maxName = 15

// checkName refuses what cannot be the name of an interface (Linux:
// dev_valid_name, __dev_alloc_name) or of a file.
func checkName(name string) error {
	bad := func(c rune) bool { return c <= ' ' || c == 0x7f || c == '/' || c == ':' }
	switch {
	case name == "":
		return errors.New("the interface name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the interface name %q is longer than %d bytes", name, maxName)
	case name == "." || name == ".." || strings.ContainsFunc(name, bad):
		return fmt.Errorf("%q cannot be the name of an interface", name)
	case strings.Contains(strings.Replace(name, "%d", "", 1), "%"):
		return fmt.Errorf("%q cannot be the name of an interface: only one %%d may be in it, which becomes a number", name)
	}
	return nil
}
