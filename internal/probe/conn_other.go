//go:build !linux || portable

package probe

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
)

// This file sends a request and waits for its reply, and finds the addresses of
// names, with package net.

// conn is a socket for one remote address. It is connected, because all systems
// can do that. So it does not see replies from a wrong address.
type conn struct{ *net.UDPConn }

func dial(to ipaddr.Endpoint) (*conn, error) {
	socket, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IP(to.Addr.IP), Port: int(to.Port), Zone: to.Addr.Zone})
	return &conn{socket}, err
}

func (c *conn) close() { c.Close() }

// exchange sends a request, at most twice, and returns the first datagram from
// the remote address for which check returns nil. If none arrives it returns the
// last error of check, or errNoAnswer.
func (c *conn) exchange(request []byte, check func([]byte) error) ([]byte, error) {
	failure := errNoAnswer
	reply := make([]byte, 2048)
	for try := 0; try < tries; try++ {
		if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
			return nil, err
		}
		if _, err := c.Write(request); err != nil {
			return nil, err
		}
		for {
			n, err := c.Read(reply)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if err = check(reply[:n]); err == nil {
				return reply[:n], nil
			}
			failure = err
		}
	}
	return nil, failure
}

// LookUp returns the IPv4 and IPv6 addresses of a host name.
func LookUp(name string) (addrs []ipaddr.Addr, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*wait)
	defer cancel()
	found, err := net.DefaultResolver.LookupIPAddr(ctx, name)
	for _, a := range found {
		addrs = append(addrs, ipaddr.Addr{IP: string(a.IP), Zone: a.Zone}.Unmap())
	}
	return addrs, err
}
