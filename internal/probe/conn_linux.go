//go:build linux && !portable

package probe

import (
	"encoding/binary"
	"errors"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink"
	"golang.org/x/sys/unix"
)

// This file sends a request and waits for its reply, with system calls.

// conn is a socket for one remote address.
type conn struct {
	fd int
	to ipaddr.Endpoint
	sa unix.Sockaddr
}

func dial(to ipaddr.Endpoint) (*conn, error) {
	sa4 := &unix.SockaddrInet4{Port: int(to.Port)}
	sa6 := &unix.SockaddrInet6{Port: int(to.Port)}
	c := &conn{to: to, sa: sa4}
	family, level, option := unix.AF_INET, unix.SOL_IP, unix.IP_RECVERR
	if to.Addr.Is6() {
		copy(sa6.Addr[:], to.Addr.IP)
		c.sa = sa6
		family, level, option = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_RECVERR
	} else {
		copy(sa4.Addr[:], to.Addr.IP)
	}
	if zone := to.Addr.Zone; zone != "" {
		var err error
		if sa6.ZoneId, err = rtnetlink.InterfaceIndex(zone); err != nil {
			return nil, err
		}
		if sa6.ZoneId == 0 {
			return nil, unix.ENODEV
		}
	}
	var err error
	if c.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	// The socket is not connected, so that it sees replies from a wrong address.
	// Therefore it must ask for ICMP errors. Without them it only waits longer.
	_ = unix.SetsockoptInt(c.fd, level, option, 1)
	// A read returns after an eighth of the wait, so that exchange can look at
	// the clock.
	tv := unix.NsecToTimeval(int64(wait / 8))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// exchange sends a request, at most twice, and returns the first datagram from
// the remote address for which check returns nil. If none arrives it returns the
// last error of check, or errNoAnswer.
func (c *conn) exchange(request []byte, check func([]byte) error) ([]byte, error) {
	failure := errNoAnswer
	reply := make([]byte, 2048)
	for try := 0; try < tries; try++ {
		if err := unix.Sendto(c.fd, request, 0, c.sa); err != nil {
			return nil, err
		}
		for start := time.Now(); time.Since(start) < wait; {
			n, from, errno := c.receive(reply)
			if errno == unix.EAGAIN || errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return nil, errno
			}
			err := check(reply[:n])
			expected := from.Addr.IP == c.to.Addr.IP && from.Port == c.to.Port
			switch {
			case expected && err == nil:
				return reply[:n], nil
			case expected:
				failure = err
			case err == nil:
				failure = errors.New("the answer came from " + from.String() + ", which was not asked")
			}
		}
	}
	return nil, failure
}

// receive is recvfrom(2). unix.Recvfrom would take 5 KB of flash, because it
// decodes all kinds of addresses.
func (c *conn) receive(b []byte) (n int, from ipaddr.Endpoint, errno unix.Errno) {
	var sa unix.RawSockaddrInet6 // also has room for an IPv4 address; the port is at the same place
	size := uint32(unsafe.Sizeof(sa))
	r, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	from.Port = binary.BigEndian.Uint16(raw[2:])
	from.Addr.IP = string(raw[4:8])
	if c.to.Addr.Is6() {
		from.Addr.IP = string(raw[8:24])
	}
	return int(r), from, errno
}
