//go:build linux && !portable

package probe

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/probe/probetest"
)

// TestWrongSource checks that a reply from another port gets an error that names
// the port, and that a reply from the right port is still accepted after it.
func TestWrongSource(t *testing.T) {
	shortenWait(t)
	for _, test := range []struct {
		network, listen string
		addr            ipaddr.Addr
	}{
		{network: "udp4", listen: "127.0.0.1:0", addr: ipaddr.Loopback4},
		{network: "udp6", listen: "[::1]:0", addr: ipaddr.Loopback6},
	} {
		t.Run(test.network, func(t *testing.T) {
			other, err := net.ListenPacket(test.network, test.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			var rightToo atomic.Bool // reply also from the right port
			server, err := net.ListenPacket(test.network, test.listen)
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
				t.Errorf("a reply from the right port too: got %v", err)
			}
		})
	}
}
