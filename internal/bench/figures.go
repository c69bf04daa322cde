//go:build linux

package main

// better says which way a figure is good.
type better int

const (
	less better = iota - 1
	neither
	more
)

// figure is something that tests measure. Its name ends with the unit.
type figure struct {
	name   string
	better better
}

// figures are those of the table and of the plot, in this order. Tests
// may measure more: that is in the JSON alone.
var figures = []figure{
	{"TCP 1 stream Gbit/s", more},
	{"TCP 1 stream CPU s/GB", less},
	{"TCP 8 streams Gbit/s", more},
	{"TCP 8 streams CPU s/GB", less},
	{"TCP both ways Gbit/s", more},
	{"TCP both ways CPU s/GB", less},
	{"TCP connections /s", more},
	{"TCP connection CPU us", less},
	{"UDP 1200 B kpps at 1% loss", more},
	{"UDP 1200 B CPU us/packet", less},
	{"UDP 512 B kpps at 1% loss", more},
	{"UDP 512 B CPU us/packet", less},
	{"UDP 64 B kpps at 1% loss", more},
	{"UDP 64 B CPU us/packet", less},
	{"UDP 1200 B flood kpps received", more},
	{"iperf3 UDP 1200 B kpps at 1% loss", more},
	{"iperf3 UDP 1200 B CPU us/packet", less},
	{"ping flood mean us", less},
	{"ping 2 ms least us", less},
	{"ping under TCP mean us", less},
	{"trickle 5k/s out CPU us/packet", less},
	{"trickle 5k/s in CPU us/packet", less},
	{"trickle 20k/s out CPU us/packet", less},
	{"trickle 20k/s in CPU us/packet", less},
	{"50 peers in kpps", more},
	{"50 peers out kpps", more},
	{"50 peers least share", more},
	{"RSS idle MiB", less},
	{worstRSS, less},
	{"TCP 1 stream switches/packet", less},
	{"UDP 1200 B switches/packet", less},
	{"trickle 5k/s switches/packet", less},
	{"TCP 1 stream syscalls/packet", less},
	{"UDP 1200 B syscalls/packet", less},
	{"trickle 5k/s syscalls/packet", less},
}

// worstRSS is the largest of what the tests of a round saw.
const worstRSS = "RSS largest of all tests MiB"

// goal is a target of the project: the figure itself, or with ratio what it is
// as a multiple of the other daemon's.
type goal struct {
	figure string
	ratio  bool
	bound  float64 // must be reached
	goFor  float64 // is hoped for; of TCP, must be reached on a processor with AVX-512
}

var goals = []goal{
	{"TCP 1 stream Gbit/s", true, 1.4, 1.9},
	{"TCP 1 stream CPU s/GB", true, 0.63, 0.47},
	{"UDP 1200 B kpps at 1% loss", true, 2, 2.8},
	{"UDP 1200 B CPU us/packet", true, 0.33, 0.22},
	{"UDP 64 B kpps at 1% loss", true, 2, 2.8},
	{"ping flood mean us", true, 0.8, 0.6},
	{"ping 2 ms least us", true, 0.75, 0.6},
	{"ping under TCP mean us", true, 0.55, 0.3},
	{worstRSS, false, 32, 16},
	{worstRSS, true, 0.1, 0.1},
	{"trickle 5k/s out CPU us/packet", true, 0.45, 0.3},
	{"trickle 5k/s in CPU us/packet", true, 0.45, 0.3},
	{"trickle 20k/s out CPU us/packet", true, 0.45, 0.3},
	{"trickle 20k/s in CPU us/packet", true, 0.45, 0.3},
	{"50 peers least share", false, 0.8, 0.95},
}

// figureByName finds a figure of the table; false if it is not in it.
func figureByName(name string) (figure, bool) {
	for _, f := range figures {
		if f.name == name {
			return f, true
		}
	}
	return figure{}, false
}
