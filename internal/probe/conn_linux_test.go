//go:build linux && !portable

package probe

import (
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/probe/probetest"
)

// TestWrongSource checks that a reply from another port or address gets an error
// that names it, and that a reply from the right one is still accepted after it.
func TestWrongSource(t *testing.T) {
	shortenWait(t)
	for _, test := range []struct {
		name, network string
		listen, other string
		addr          ipaddr.Addr
	}{
		{name: "port", network: "udp4", listen: "127.0.0.1:0", other: "127.0.0.1:0", addr: ipaddr.Loopback4},
		{name: "port, IPv6", network: "udp6", listen: "[::1]:0", other: "[::1]:0", addr: ipaddr.Loopback6},
		{name: "address", network: "udp4", listen: "127.0.0.1:", other: "127.0.0.2:0", addr: ipaddr.Loopback4},
	} {
		t.Run(test.name, func(t *testing.T) {
			other, err := net.ListenPacket(test.network, test.other)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			listen := test.listen
			if strings.HasSuffix(listen, ":") { // the same port at another address
				listen += strconv.Itoa(other.LocalAddr().(*net.UDPAddr).Port)
			}
			var rightToo atomic.Bool // reply also from the right port
			server, err := net.ListenPacket(test.network, listen)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go func() {
				b := make([]byte, 2048)
				for {
					n, from, err := server.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = other.WriteTo(probetest.ConnectReply(b[:n]), from)
					if rightToo.Load() {
						_, _ = server.WriteTo(probetest.ConnectReply(b[:n]), from)
					}
				}
			}()
			c := newClient(t, test.addr, uint16(server.LocalAddr().(*net.UDPAddr).Port))
			want := "connect: the answer came from " + other.LocalAddr().String() + ", which was not asked"
			if err := c.Connect(); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			rightToo.Store(true)
			if err := c.Connect(); err != nil {
				t.Errorf("a reply from the right one too: got %v", err)
			}
		})
	}
}

// TestZone checks that the interface of an IPv6 address must exist.
func TestZone(t *testing.T) {
	for zone, ok := range map[string]bool{"lo": true, "1": true, "none": false, "longer than any name": false, "0": false} {
		addr := ipaddr.Loopback6
		addr.Zone = zone
		c, err := Dial(ipaddr.Endpoint{Addr: addr, Port: 9})
		if (err == nil) != ok {
			t.Errorf("::1%%%s: got error %v, want one: %v", zone, err, !ok)
		}
		if err == nil {
			c.Close()
		}
	}
}
