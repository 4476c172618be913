//go:build linux && !portable

package main

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
	"golang.org/x/sys/unix"
)

// This file owns what the probe needs of the system, without package net and
// its 300 KB: a datagram there and one back, and names from /etc/hosts and
// from the name servers in /etc/resolv.conf.

// line is a socket to one address.
type line struct {
	fd int
	to ipaddr.Endpoint
	sa unix.Sockaddr
}

func dial(to ipaddr.Endpoint) (*line, error) {
	sa4 := &unix.SockaddrInet4{Port: int(to.Port)}
	sa6 := &unix.SockaddrInet6{Port: int(to.Port)}
	l := &line{to: to, sa: sa4}
	family, level, option := unix.AF_INET, unix.SOL_IP, unix.IP_RECVERR
	if to.Addr.Is6() {
		copy(sa6.Addr[:], to.Addr.IP)
		l.sa = sa6
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
	if l.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	// Not connected, to see an answer from a wrong address; so what ICMP says
	// must be asked for. Without it the wait is longer, no more.
	_ = unix.SetsockoptInt(l.fd, level, option, 1)
	// Reads return now and then, so that strays can't keep us past the end.
	tv := unix.NsecToTimeval(int64(probeWait / 8))
	if err := unix.SetsockoptTimeval(l.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *line) close() { unix.Close(l.fd) }

// exchange sends request, once more if need be, and returns the first datagram
// from there with which accept finds no fault. Without one its error is the
// last fault, or errNoAnswer.
func (l *line) exchange(request []byte, accept func([]byte) error) ([]byte, error) {
	fault := errNoAnswer
	reply := make([]byte, 2048)
	for try := 0; try < probeTries; try++ {
		if err := unix.Sendto(l.fd, request, 0, l.sa); err != nil {
			return nil, err
		}
		for began := time.Now(); time.Since(began) < probeWait; {
			n, from, errno := l.receive(reply)
			if errno == unix.EAGAIN || errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return nil, errno
			}
			err := accept(reply[:n])
			asked := from.Addr.IP == l.to.Addr.IP && from.Port == l.to.Port
			switch {
			case asked && err == nil:
				return reply[:n], nil
			case asked:
				fault = err
			case err == nil:
				fault = errors.New("the answer came from " + from.String() + ", which was not asked")
			}
		}
	}
	return nil, fault
}

// receive is recvfrom; the one of package unix knows 5 KB of kinds of address.
func (l *line) receive(b []byte) (n int, from ipaddr.Endpoint, errno unix.Errno) {
	var sa unix.RawSockaddrInet6 // an IPv4 one is shorter, and has its port at the same place
	size := uint32(unsafe.Sizeof(sa))
	r, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(l.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0,
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	from.Port = binary.BigEndian.Uint16(raw[2:])
	from.Addr.IP = string(raw[4:8])
	if l.to.Addr.Is6() {
		from.Addr.IP = string(raw[8:24])
	}
	return int(r), from, errno
}

// lookup finds the addresses of a name: whole, for search domains are not
// tried.
func lookup(name string) ([]ipaddr.Addr, error) {
	name = textutil.Map(strings.TrimSuffix(name, "."), plain)
	hosts, _ := sys.ReadFile("/etc/hosts") // what isn't there has no names
	if addrs := table(string(hosts), func(f []string) string {
		for _, n := range f[1:] {
			if n == name {
				return f[0]
			}
		}
		return ""
	}); addrs != nil {
		return addrs, nil
	}
	if name == "localhost" {
		return []ipaddr.Addr{loopback(false), loopback(true)}, nil
	}
	conf, _ := sys.ReadFile("/etc/resolv.conf")
	servers := table(string(conf), func(f []string) string {
		if f[0] == "nameserver" && len(f) > 1 {
			return f[1]
		}
		return ""
	})
	if servers == nil {
		servers = []ipaddr.Addr{loopback(false)} // as resolv.conf(5) has it
	}
	return ask(servers, 53, name)
}

// plain is c in lower case, and a blank for a tab.
func plain(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		c += 'a' - 'A'
	case c == '\t':
		c = ' '
	}
	return c
}

// table is the addresses in a file such as /etc/hosts: pick takes the words of
// a line, in lower case, and returns one of them or "".
func table(file string, pick func([]string) string) (addrs []ipaddr.Addr) {
	for _, line := range strings.Split(textutil.Map(file, plain), "\n") {
		line, _, _ = strings.Cut(line, "#")
		var words []string
		for _, w := range strings.Split(line, " ") {
			if w != "" {
				words = append(words, w)
			}
		}
		if words == nil {
			continue
		}
		if a, ok := ipaddr.Parse(pick(words)); ok {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

var (
	errNoName = errors.New("no such name")
	errServer = errors.New("no name server has an answer")
)

const (
	dnsHead = 12
	dnsA    = 1
	dnsAAAA = 28
)

// ask has name servers look for a name's IPv4 and IPv6 addresses (RFC 1035,
// section 4.1).
func ask(servers []ipaddr.Addr, port uint16, name string) (addrs []ipaddr.Addr, err error) {
	query := make([]byte, dnsHead, 512)
	if err := sys.Random(query[:2]); err != nil {
		return nil, err
	}
	query[2], query[5] = 1, 1 // recursion desired, one question
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || len(name) > 253 {
			return nil, errTarget
		}
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, 0, 0, 1) // the root, a kind, class IN
	err = errServer
	for _, kind := range []byte{dnsA, dnsAAAA} {
		query[len(query)-3] = kind
		for _, server := range servers {
			reply, failure := askOne(ipaddr.Endpoint{Addr: server, Port: port}, query)
			if failure != nil || reply[3]&15 != 0 && reply[3]&15 != 3 {
				continue
			}
			// It knows, if only that there is no such name.
			err = errNoName
			addrs = append(addrs, dnsAnswers(reply, len(query), uint16(kind))...)
			break
		}
	}
	if addrs != nil {
		err = nil
	}
	return addrs, err
}

// askOne is the reply of one name server.
func askOne(server ipaddr.Endpoint, query []byte) ([]byte, error) {
	l, err := dial(server)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return l.exchange(query, func(b []byte) error {
		// The question comes back as it was asked.
		if len(b) >= len(query) && b[2]&0x80 != 0 &&
			string(b[:2]) == string(query[:2]) && string(b[dnsHead:len(query)]) == string(query[dnsHead:]) {
			return nil
		}
		return errServer
	})
}

// dnsAnswers are the addresses in a reply whose answers begin at byte at, up
// to where it is malformed. The server has followed aliases, so a record's
// owner doesn't matter.
func dnsAnswers(reply []byte, at int, kind uint16) (addrs []ipaddr.Addr) {
	for n := binary.BigEndian.Uint16(reply[6:]); n > 0; n-- {
		// The owner: labels up to an empty one or a pointer.
		for at < len(reply) && reply[at] != 0 && reply[at] < 0xc0 {
			at += 1 + int(reply[at])
		}
		if at++; at <= len(reply) && reply[at-1] != 0 {
			at++
		}
		if at+10 > len(reply) {
			break
		}
		end := at + 10 + int(binary.BigEndian.Uint16(reply[at+8:]))
		if end > len(reply) {
			break
		}
		if binary.BigEndian.Uint16(reply[at:]) == kind {
			if n := end - at - 10; n == 4 || n == 16 {
				addrs = append(addrs, ipaddr.Addr{IP: string(reply[at+10 : end])})
			}
		}
		at = end
	}
	return addrs
}
