//go:build linux

package nstest

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// NS is a network namespace without a name. It exists while its lab is open.
type NS struct {
	// Label is what people call it in messages.
	Label string
	// Path names the namespace for ip(8) while this process lives.
	Path string

	lab  *Lab
	file *os.File
}

// quietSysctls keep the kernel from sending packets of its own, and make IPv6
// addresses usable at once.
var quietSysctls = map[string]string{
	"net/ipv6/conf/all/accept_dad":               "0",
	"net/ipv6/conf/default/accept_dad":           "0",
	"net/ipv6/conf/default/accept_ra":            "0",
	"net/ipv6/conf/default/addr_gen_mode":        "1", // no link-local addresses
	"net/ipv6/conf/default/router_solicitations": "0",
}

// Namespace makes a namespace whose loopback interface is up, where the kernel
// sends nothing unasked: no duplicate address detection, no router
// solicitation, no link-local addresses.
func (l *Lab) Namespace(label string) (*NS, error) {
	n := &NS{Label: label, lab: l}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		var err error
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	n.Path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
	l.mu.Lock()
	l.spaces = append(l.spaces, n)
	l.mu.Unlock()
	for name, value := range quietSysctls {
		if err := n.Sysctl(name, value); err != nil && !os.IsNotExist(err) { // a kernel without IPv6
			return nil, err
		}
	}
	return n, n.IP("link set lo up")
}

func (n *NS) close() error { return n.file.Close() }

// Do runs f inside the namespace and returns its error. Sockets made there
// belong to the namespace for good; goroutines started by f do not.
func (n *NS) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering namespace %s: %w", n.Label, err)
		}
		return f()
	})
}

// onThread runs f on a thread that may change its network namespace: it is put
// back afterwards. If that fails the thread is thrown away (a goroutine that
// ends while locked takes its thread with it).
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f
		runtime.LockOSThread()
		origin, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer origin.Close()
		err = f()
		if unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Sysctl sets a value in /proc/sys, such as net/ipv4/ip_forward.
func (n *NS) Sysctl(name, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
}

// IP runs ip(8) commands, one per line, in one batch. The first that fails
// ends it; the error says which line.
func (n *NS) IP(lines ...string) error {
	_, err := n.RunInput(strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
	return err
}

// NFT loads an nftables script.
func (n *NS) NFT(script string) error {
	_, err := n.RunInput(script, "nft", "-f", "-")
	return err
}

// firstIndex is above all indices the kernel gives by itself.
const firstIndex = 1000

// Join connects two namespaces with a veth pair. The ends are called ifA and
// ifB and are up; mtu is that of both.
func Join(a *NS, ifA string, b *NS, ifB string, mtu int) error {
	// The indices must differ, or the kernel takes up to a second to believe in
	// the carrier (linkwatch), and IPv6 waits for that.
	index := firstIndex + a.lab.links.Add(1)
	if err := a.IP(fmt.Sprintf("link add %s index %d mtu %d type veth peer name %s mtu %d netns %s", ifA, index, mtu, ifB, mtu, b.Path)); err != nil {
		return err
	}
	if err := a.IP("link set " + ifA + " up"); err != nil {
		return err
	}
	return b.IP("link set " + ifB + " up")
}

// Lab is the lab the namespace belongs to.
func (n *NS) Lab() *Lab { return n.lab }
