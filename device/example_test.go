package device_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"net/netip"

	"culvert/conn/conntest"
	"culvert/device"
	"culvert/device/config"
	"culvert/tun/tuntest"
)

// How a program embeds devices: here two, in memory. On a machine tun.Create makes the
// interface and conn.System the network, and ipc.Serve lets wg(8) configure the device;
// that server is closed after the device.
func Example() {
	network := conntest.NewNetwork(1)
	defer network.Close()
	var (
		outside = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
		inside  = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
		private [2]config.PrivateKey
		public  [2]config.PublicKey
		tuns    [2]*tuntest.TUN
	)
	for i := range 2 {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			fmt.Println(err)
			return
		}
		private[i], public[i] = config.PrivateKey(key.Bytes()), config.PublicKey(key.PublicKey().Bytes())
	}
	for i := range 2 {
		tuns[i] = tuntest.NewUp(1420)
		d, err := device.New(tuns[i], network.Host(outside[i]), device.Options{})
		if err != nil {
			fmt.Println(err) // the device had the interface, and has closed it
			return
		}
		defer d.Close() // closes the interface and the sockets, and waits for all goroutines
		other := 1 - i
		err = d.Configure(&config.Update{ // ours again afterwards: the keys in it are ours to overwrite
			HasPrivateKey: true, PrivateKey: private[i],
			HasListenPort: true, ListenPort: 51820,
			Peers: []config.PeerUpdate{{
				PublicKey:  public[other],
				Endpoint:   netip.AddrPortFrom(outside[other], 51820),
				AllowedIPs: []config.AllowedIP{{Prefix: netip.PrefixFrom(inside[other], 32)}},
			}},
		})
		if err != nil {
			fmt.Println(err) // and nothing has changed
			return
		}
	}
	tuns[0].Send(tuntest.Ping(inside[0], inside[1], 1, 1, []byte("hello")))
	packet, err := tuns[1].Recv()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", packet[len(packet)-5:])
	// Output: hello
}
