//go:build linux && !portable

package udp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// deadline is how long a test waits for a packet that must come at once.
const deadline = 20 * time.Second

// testSizes are the sizes of a tracker's packets.
var testSizes = Sizes{MaxRequest: 1496, MaxReply: 1500}

// loopbacks are an address of each family with the wildcard that includes it.
var loopbacks = []struct{ addr, wildcard string }{{"127.0.0.1", "0.0.0.0"}, {"::1", "::"}}

// freePort returns a UDP port that nobody uses on either loopback address.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for try := 0; try < 100; try++ {
		a, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := a.LocalAddr().(*net.UDPAddr).Port
		b, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: port})
		a.Close()
		if err == nil {
			b.Close()
			return uint16(port)
		}
	}
	t.Fatal("no port is free on 127.0.0.1 and [::1] (is there no IPv6?)")
	return 0
}

// testConfig is for a socket of one address, as a worker opens it.
func testConfig(ip string, port uint16, batch int) Config {
	return Config{IP: string(netip.MustParseAddr(ip).AsSlice()), Port: port, Batch: batch, Sizes: testSizes}
}

// openFree opens a socket on a port that is free.
func openFree(t testing.TB, ip string, batch int) (*Socket, uint16) {
	t.Helper()
	for {
		port := freePort(t)
		s, err := Open(testConfig(ip, port, batch))
		if err == nil {
			return s, port
		}
		if !strings.Contains(err.Error(), "in use") { // taken in between
			t.Fatal(err)
		}
	}
}

// client is a connected socket: it receives only from the address that it asks.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	self netip.AddrPort
}

func dialClient(t testing.TB, addr string, port uint16) *client {
	t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(addr), port)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (c *client) send(req []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(req); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) receive() []byte {
	c.t.Helper()
	b := make([]byte, 4096)
	if err := c.conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		c.t.Fatal(err)
	}
	n, err := c.conn.Read(b)
	if err != nil {
		c.t.Fatalf("no reply: %v", err)
	}
	return b[:n]
}

func (c *client) ask(req []byte) []byte {
	c.t.Helper()
	c.send(req)
	return c.receive()
}

// connectRequest is a request that gets through the kernel's filter.
func connectRequest() []byte {
	req := binary.BigEndian.AppendUint64(nil, 0x41727101980)
	return append(req, "\x00\x00\x00\x00abcd"...)
}

// numbered returns such a request with a number.
func numbered(n int) []byte {
	req := connectRequest()
	binary.BigEndian.PutUint32(req[12:], uint32(n))
	return req
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
