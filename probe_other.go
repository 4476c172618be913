//go:build !linux || portable

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// This file owns what the probe needs of the system: one datagram there and
// one back, and names.

// exchange sends request, once more if need be, and returns the first datagram
// from there that accept takes, or errNoAnswer.
func exchange(to endpoint, request []byte, accept func([]byte) bool) ([]byte, error) {
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IP(to.addr.ip), Port: int(to.port), Zone: to.addr.zone})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply := make([]byte, 2048)
	for try := 0; try < probeTries; try++ {
		if err := conn.SetDeadline(time.Now().Add(probeWait)); err != nil {
			return nil, err
		}
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		for {
			n, err := conn.Read(reply)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if accept(reply[:n]) {
				return reply[:n], nil
			}
		}
	}
	return nil, errNoAnswer
}

// lookup finds the addresses of a name.
func lookup(name string) (addrs []ipAddr, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*probeWait)
	defer cancel()
	found, err := net.DefaultResolver.LookupIPAddr(ctx, name)
	for _, a := range found {
		addrs = append(addrs, ipAddr{ip: string(a.IP), zone: a.Zone}.unmap())
	}
	return addrs, err
}
