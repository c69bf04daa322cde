//go:build linux

package nstest

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Processes lists the processes of the lab by their mark, also those that
// daemonized themselves.
func (l *Lab) Processes() []int { return marked(l.mark) }

// Bound reports whether a socket of the namespace is bound to the port.
// network is tcp (listening sockets count, too) or udp; both address families
// are looked at.
func (n *NS) Bound(network string, port int) bool {
	for _, p := range n.Ports(network) {
		if p == port {
			return true
		}
	}
	return false
}

// tcpListen is the state of a listening socket in /proc/net/tcp (kernel:
// include/net/tcp_states.h). A port whose last connection is in TIME_WAIT is
// there too, and nobody listens.
const tcpListen = "0A"

// Ports lists the ports that sockets of the namespace are bound to (udp) or
// listen on (tcp), once for each socket, as /proc/net shows them.
func (n *NS) Ports(network string) (ports []int) {
	n.Do(func() error {
		for _, family := range []string{"", "6"} {
			b, _ := os.ReadFile("/proc/thread-self/net/" + network + family) // no IPv6: no file
			for line := range strings.Lines(string(b)) {
				f := strings.Fields(line)
				if len(f) < 4 || network == "tcp" && f[3] != tcpListen {
					continue
				}
				if _, hex, ok := strings.Cut(f[1], ":"); ok {
					if p, err := strconv.ParseInt(hex[strings.LastIndex(hex, ":")+1:], 16, 32); err == nil {
						ports = append(ports, int(p))
					}
				}
			}
		}
		return nil
	})
	return ports
}

// HasLink reports whether the namespace has an interface of that name.
func (n *NS) HasLink(name string) bool {
	_, err := n.Run("ip", "link", "show", "dev", name)
	return err == nil
}

// Counters reads the named counters of an nftables table, in packets.
func (n *NS) Counters(family, table string) (map[string]int64, error) {
	out, err := n.Run("nft", "-j", "list", "counters", "table", family, table)
	if err != nil {
		return nil, err
	}
	var reply struct {
		NFTables []struct {
			Counter *struct {
				Name    string
				Packets int64
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		return nil, fmt.Errorf("nft counters: %w", err)
	}
	counters := make(map[string]int64)
	for _, o := range reply.NFTables {
		if o.Counter != nil {
			counters[o.Counter.Name] = o.Counter.Packets
		}
	}
	return counters, nil
}
