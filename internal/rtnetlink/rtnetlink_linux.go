//go:build linux && !portable

package rtnetlink

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is a socket to the kernel. Its methods are for one goroutine, except
// Wake.
type Conn struct {
	fd      int
	file    *os.File        // fd in the runtime's poller
	waiting syscall.RawConn // of file
	seq     uint32          // of the last request
	changed Changes         // changes that Wait must report
	buf     [8 << 10]byte
}

// Changes is a set of things that may have changed.
type Changes uint8

const (
	LinksChanged Changes = 1 << iota
	AddressesChanged
	RoutesChanged // default routes

	allChanged = LinksChanged | AddressesChanged | RoutesChanged
)

// groups are the notifications that the kernel sends.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// replyTimeout is how long the kernel may take for a reply.
const replyTimeout = 2 * time.Second

// Open opens a socket for the notifications of the kernel.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// With strict checking the kernel lists one table of routes and one
	// interface's addresses. Before Linux 4.20 it lists all.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	n := &Conn{fd: fd, file: os.NewFile(uintptr(fd), "netlink")}
	if n.waiting, err = n.file.SyscallConn(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// Close closes the socket.
func (n *Conn) Close() { n.file.Close() }

// Wait waits until something may have changed since its last return, and
// returns what may have changed. After Wake it returns at once.
func (n *Conn) Wait() (Changes, error) {
	var failed error
	err := n.waiting.Read(func(uintptr) bool {
		for n.changed == 0 {
			b, err := n.read()
			if err == unix.EAGAIN {
				return false // wait
			}
			if err != nil {
				failed = err
				return true
			}
			for m := (message{}); m.next(&b); {
				n.changed |= m.changes()
			}
		}
		return true
	})
	changed := n.changed
	n.changed = 0
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if failed != nil {
		err = failed
	}
	return changed, err
}

// Wake makes Wait return, now and from now on.
func (n *Conn) Wake() { _ = n.file.SetReadDeadline(time.Unix(1, 0)) }

// read reads a datagram that has arrived. If the queue was full, anything may
// have changed.
func (n *Conn) read() ([]byte, error) {
	for {
		k, err := unix.Read(n.fd, n.buf[:])
		switch err {
		case nil:
			return n.buf[:k], nil
		case unix.ENOBUFS:
			n.changed = allChanged
			return nil, nil
		case unix.EINTR:
		default:
			return nil, err
		}
	}
}

// receive waits for the reply to a request. The kernel has usually written it
// before the request returns.
func (n *Conn) receive() ([]byte, error) {
	for end := time.Now().Add(replyTimeout); ; {
		b, err := n.read()
		if err != unix.EAGAIN || time.Now().After(end) {
			return b, err
		}
		poll := [1]unix.PollFd{{Fd: int32(n.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll[:], int(replyTimeout.Milliseconds())); err != nil && err != unix.EINTR {
			return nil, err
		}
	}
}

// dumpRequest is a request for all routes or addresses. Its second half is long
// enough for each kind of header.
type dumpRequest struct {
	Len   uint32
	Type  uint16
	Flags uint16
	Seq   uint32
	Pid   uint32

	Family uint8
	Bits   uint8 // of a route's destination
	_      [2]uint8
	Table  uint8 // of a route; of an address: the interface
	_      [7]uint8
}

// setInterface limits the request to the addresses of one interface. struct
// ifaddrmsg has the interface at the place of the table in struct rtmsg.
func (q *dumpRequest) setInterface(index uint32) {
	binary.NativeEndian.PutUint32(q.bytes()[unix.NLMSG_HDRLEN+4:], index)
}

func (q *dumpRequest) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(q)), q.Len)
}

// dump asks for all routes or addresses of a family, and passes each one on.
func (n *Conn) dump(q *dumpRequest, take func(*message)) error {
	n.seq++
	q.Flags, q.Seq = unix.NLM_F_REQUEST|unix.NLM_F_DUMP, n.seq
	if _, err := unix.Write(n.fd, q.bytes()); err != nil {
		return err
	}
	for {
		b, err := n.receive()
		if err != nil {
			return err
		}
		for m := (message{}); m.next(&b); {
			switch {
			case m.seq != n.seq, m.kind != unix.NLMSG_ERROR && m.flags&unix.NLM_F_MULTI == 0:
				// Skip notifications: they have the number of the
				// request that caused them, which may equal ours.
				n.changed |= m.changes()
			case m.kind == unix.NLMSG_ERROR:
				return m.failure()
			case m.kind == unix.NLMSG_DONE:
				return nil
			default:
				// The table changed during the dump.
				if m.flags&unix.NLM_F_DUMP_INTR != 0 {
					n.changed = allChanged
				}
				take(&m)
			}
		}
	}
}

// DefaultRoutes calls found for each default route of the main table, with its
// interface, metric (the lowest wins) and gateway. The gateway is empty if the
// route has none or several.
func (n *Conn) DefaultRoutes(v6 bool, found func(index, metric uint32, gateway []byte)) error {
	q := dumpRequest{Len: unix.NLMSG_HDRLEN + unix.SizeofRtMsg, Type: unix.RTM_GETROUTE, Family: familyOf(v6), Table: unix.RT_TABLE_MAIN}
	err := n.dump(&q, func(m *message) { m.defaultRoute(v6, found) })
	if err == unix.ENOENT {
		return nil // the table has no route yet
	}
	return err
}

// Addresses calls found for each usable address of an interface: not temporary,
// not deprecated or tentative, and not for one link only.
func (n *Conn) Addresses(v6 bool, index uint32, found func(ip []byte)) error {
	q := dumpRequest{Len: unix.NLMSG_HDRLEN + unix.SizeofIfAddrmsg, Type: unix.RTM_GETADDR, Family: familyOf(v6)}
	q.setInterface(index)
	err := n.dump(&q, func(m *message) { m.address(v6, index, found) })
	if err == unix.ENODEV {
		return nil // it has gone meanwhile
	}
	return err
}

// familyOf returns the family in a header. A kernel without IPv6 always answers
// with IPv4.
func familyOf(v6 bool) uint8 {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// message is a message from the kernel.
type message struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

// next cuts the next message off b. A malformed or incomplete message ends the
// list.
func (m *message) next(b *[]byte) bool {
	const head = unix.NLMSG_HDRLEN
	if len(*b) < head {
		return false
	}
	size := binary.NativeEndian.Uint32(*b)
	if size < head || uint64(size) > uint64(len(*b)) {
		return false
	}
	m.kind = binary.NativeEndian.Uint16((*b)[4:])
	m.flags = binary.NativeEndian.Uint16((*b)[6:])
	m.seq = binary.NativeEndian.Uint32((*b)[8:])
	m.body = (*b)[head:size]
	*b = (*b)[min(int(size+3)&^3, len(*b)):]
	return true
}

// changes returns what may have changed by a notification. Routes that are not
// default routes do not count, because some routers have all routes of the
// internet.
func (m *message) changes() Changes {
	switch m.kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.body) >= unix.SizeofRtMsg && m.body[1] != 0 {
			return 0
		}
		return RoutesChanged
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return AddressesChanged
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return LinksChanged
	}
	return allChanged
}

// failure returns the error in the message, or nil.
func (m *message) failure() error {
	if len(m.body) < 4 {
		return unix.EPROTO
	}
	if code := int32(binary.NativeEndian.Uint32(m.body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

// attribute is a value that follows the header of a message.
type attribute struct {
	kind  uint16
	value []byte
}

// next cuts the next attribute off b. A malformed attribute ends the list.
func (a *attribute) next(b *[]byte) bool {
	const head = unix.SizeofRtAttr
	if len(*b) < head {
		return false
	}
	size := int(binary.NativeEndian.Uint16(*b))
	if size < head || size > len(*b) {
		return false
	}
	a.kind = binary.NativeEndian.Uint16((*b)[2:])
	a.value = (*b)[head:size]
	*b = (*b)[min((size+3)&^3, len(*b)):]
	return true
}

// number returns the value of a numeric attribute, 0 for other attributes.
func (a *attribute) number() uint32 {
	if len(a.value) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(a.value)
}

// defaultRoute calls found for the interfaces of a default route.
func (m *message) defaultRoute(v6 bool, found func(index, metric uint32, gateway []byte)) {
	b := m.body
	// struct rtmsg: family, bits of destination, of source, tos, table,
	// protocol, scope, type.
	if m.kind != unix.RTM_NEWROUTE || len(b) < unix.SizeofRtMsg || b[0] != familyOf(v6) || b[1] != 0 || b[4] != unix.RT_TABLE_MAIN || b[7] != unix.RTN_UNICAST {
		return
	}
	var index, metric uint32
	var hops, gateway []byte
	b = b[unix.SizeofRtMsg:]
	for a := (attribute{}); a.next(&b); {
		switch a.kind {
		case unix.RTA_OIF:
			index = a.number()
		case unix.RTA_PRIORITY:
			metric = a.number()
		case unix.RTA_GATEWAY:
			gateway = a.value
		case unix.RTA_MULTIPATH:
			hops = a.value
		}
	}
	if index != 0 {
		found(index, metric, gateway)
	}
	// struct rtnexthop: size, flags, hops, interface; then attributes.
	for len(hops) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(hops))
		if size < unix.SizeofRtNexthop {
			break
		}
		found(binary.NativeEndian.Uint32(hops[4:]), metric, nil)
		hops = hops[min((size+3)&^3, len(hops)):]
	}
}

// address calls found for the address in the message, if it belongs to the
// interface and is usable.
func (m *message) address(v6 bool, index uint32, found func(ip []byte)) {
	b := m.body
	// struct ifaddrmsg: family, bits of prefix, flags, scope, interface.
	if m.kind != unix.RTM_NEWADDR || len(b) < unix.SizeofIfAddrmsg || b[0] != familyOf(v6) || b[3] != unix.RT_SCOPE_UNIVERSE || binary.NativeEndian.Uint32(b[4:]) != index {
		return
	}
	size := 4
	passing := uint32(unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED)
	if v6 {
		size = 16
		passing |= unix.IFA_F_TEMPORARY // for IPv4 this bit means a secondary address
	}
	flags := uint32(b[2])
	var ip []byte
	b = b[unix.SizeofIfAddrmsg:]
	for a := (attribute{}); a.next(&b); {
		switch {
		case a.kind == unix.IFA_FLAGS:
			flags = a.number()
		case a.kind == unix.IFA_LOCAL, a.kind == unix.IFA_ADDRESS && ip == nil:
			// If the two differ, IFA_ADDRESS is the other end of
			// the link.
			ip = a.value
		}
	}
	if len(ip) == size && flags&passing == 0 {
		found(ip)
	}
}

// InterfaceIndex returns the number of an interface, given by name or as a
// number. It is 0 if the interface is missing.
func InterfaceIndex(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	if err == unix.ENODEV {
		return 0, nil
	}
	return ifr.Uint32(), err
}
