//go:build linux && !portable

package udp

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file has what a socket asks of the kernel before its first datagram, and
// what the kernel counts of it.

// receiveBuffer is the size that is asked of the kernel: a burst of 4,000
// connects.
const receiveBuffer = 4 << 20

// configure sets the options of k and binds it.
func (s *Socket) configure(k *kernelSocket) error {
	if s.config.Shared {
		if err := unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return ErrNoSharing
		}
	}
	// The socket also works without the following options.
	_ = unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	if n, err := unix.GetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		s.rcvbuf = n / 2 // the kernel doubles what it is asked for
	}
	_ = unix.SetsockoptSockFprog(k.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &requestFilter)

	linkLocal := s.V6() && s.config.IP[0] == 0xfe && s.config.IP[1]&0xc0 == 0x80
	if s.config.Interface != "" && !linkLocal {
		if err := unix.BindToDevice(k.fd, s.config.Interface); err == unix.EPERM {
			return ErrNoBinding
		} else if err != nil {
			return err
		}
	}
	var sa unix.Sockaddr
	level, freebind := unix.IPPROTO_IP, unix.IP_FREEBIND
	if s.V6() {
		level, freebind = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		if err := unix.SetsockoptInt(k.fd, level, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(k.fd, level, unix.IPV6_RECVPKTINFO, 1); err != nil {
			return err
		}
		// Every reply fits into the 1280 bytes that each IPv6 link must carry:
		// forged ICMP messages about the path are ignored.
		_ = unix.SetsockoptInt(k.fd, level, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		sa6 := &unix.SockaddrInet6{Port: int(s.config.Port)}
		copy(sa6.Addr[:], s.config.IP)
		if linkLocal {
			sa6.ZoneId = k.index // this needs no privilege on any kernel
		}
		sa = sa6
	} else {
		if err := unix.SetsockoptInt(k.fd, level, unix.IP_PKTINFO, 1); err != nil {
			return err
		}
		allowFragments(k.fd)
		sa4 := &unix.SockaddrInet4{Port: int(s.config.Port)}
		copy(sa4.Addr[:], s.config.IP)
		sa = sa4
	}
	err := unix.Bind(k.fd, sa)
	if err == unix.EADDRNOTAVAIL && unix.SetsockoptInt(k.fd, level, freebind, 1) == nil {
		// Requests arrive as soon as an interface has the address.
		s.freebound = true
		err = unix.Bind(k.fd, sa)
	}
	return err
}

// allowFragments makes the kernel send without the DF bit, so that routers, and
// the kernel itself, fragment a reply where a link has a small MTU. Links with
// less than a reply needs exist (PPPoE over a tunnel), and a client behind one
// would never get an answer.
func allowFragments(fd int) {
	// IP_PMTUDISC_OMIT (Linux 3.15) also ignores forged ICMP messages about the
	// path.
	if unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT) != nil {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
}

// countDrops returns the kernel's counter of dropped datagrams, modulo 1<<32.
func (k *kernelSocket) countDrops() (n uint32, ok bool) {
	const meminfoDrops = 8 // SK_MEMINFO_DROPS, of nine
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(k.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[meminfoDrops], errno == 0 && size == uint32(unsafe.Sizeof(info)) // Linux 4.12
}

// Hint returns what a user can do about an error of Open.
func Hint(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return " (is another tracker running?)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return " (no interface has this address)"
	}
	return ""
}

// NoFamily reports whether err means that the kernel lacks the address family.
func NoFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EPROTONOSUPPORT)
}
