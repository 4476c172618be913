//go:build !linux || portable

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
)

// This file owns what the probe needs of the system: one datagram there and
// one back, and names.

// line is a socket to one address. It is connected: that is what all systems
// know, so an answer from a wrong address is no answer here.
type line struct{ *net.UDPConn }

func dial(to ipaddr.Endpoint) (*line, error) {
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IP(to.Addr.IP), Port: int(to.Port), Zone: to.Addr.Zone})
	return &line{conn}, err
}

func (l *line) close() { l.Close() }

// exchange sends request, once more if need be, and returns the first datagram
// from there with which accept finds no fault. Without one its error is the
// last fault, or errNoAnswer.
func (l *line) exchange(request []byte, accept func([]byte) error) ([]byte, error) {
	fault := errNoAnswer
	reply := make([]byte, 2048)
	for try := 0; try < probeTries; try++ {
		if err := l.SetDeadline(time.Now().Add(probeWait)); err != nil {
			return nil, err
		}
		if _, err := l.Write(request); err != nil {
			return nil, err
		}
		for {
			n, err := l.Read(reply)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if err = accept(reply[:n]); err == nil {
				return reply[:n], nil
			}
			fault = err
		}
	}
	return nil, fault
}

// lookup finds the addresses of a name.
func lookup(name string) (addrs []ipaddr.Addr, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*probeWait)
	defer cancel()
	found, err := net.DefaultResolver.LookupIPAddr(ctx, name)
	for _, a := range found {
		addrs = append(addrs, ipaddr.Addr{IP: string(a.IP), Zone: a.Zone}.Unmap())
	}
	return addrs, err
}
