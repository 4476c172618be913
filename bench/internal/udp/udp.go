// Package udp is one socket for many clients. Datagrams are sent in batches,
// each from its own address: the kernel takes the source from a PKTINFO control
// message, so thousands of clients need one socket only. The package does not
// look at the content of datagrams.
//
// IPv4 clients live in 127.0.0.0/8, all of which is local on every Linux machine. A server behind a
// wire can't answer there, so its clients live in 198.19.0.0/16 (RFC 2544). IPv6 clients live in
// 2001:db8::/32, each in a /64 of its own. The latter two have to be made local first:
//
//	ip route add local 198.19.0.0/16 dev lo
//	ip -6 route add local 2001:db8::/32 dev lo
//
// The benchmarks do that in a network namespace of their own.
package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// Batch is how many datagrams one system call moves at most.
	Batch = 64
	// MaxSources is how many client addresses there are, of either family; behind a wire there are
	// 65,536 over IPv4.
	MaxSources = 1<<24 - 1<<17

	firstV4     = 0x7F010000 // 127.1.0.0: the addresses below it are left to servers
	firstWired  = 0xC6130000 // 198.19.0.0
	payloadSize = 2048
	controlSize = 40 // a control message with an in6_pktinfo; one with an in_pktinfo is smaller
	waitTime    = 20 * time.Millisecond
)

// Conn is the socket with its buffers. It is not safe for concurrent use.
type Conn struct {
	fd    int
	v6    bool
	first uint32 // IPv4 client
	tx    *side
	rx    *side
}

// side is what one system call reads: headers that point to each other and never move.
type side struct {
	header  [Batch]mmsghdr
	vector  [Batch]unix.Iovec
	control [Batch][controlSize]byte
	payload [Batch][payloadSize]byte
	server4 unix.RawSockaddrInet4
	server6 unix.RawSockaddrInet6
}

// mmsghdr is struct mmsghdr of recvmmsg(2); the compiler pads it as C does.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// Open makes a socket that sends to the server. The kernel is asked for receive buffers of that
// many bytes, over its limit where the process may go over it.
func Open(server netip.AddrPort, receiveBuffer int) (*Conn, error) {
	v6 := server.Addr().Is6()
	family, level := unix.AF_INET, unix.IPPROTO_IP
	if v6 {
		family, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	c := &Conn{fd: fd, v6: v6, first: firstV4, tx: new(side), rx: new(side)}
	if !server.Addr().IsLoopback() {
		c.first = firstWired
	}
	if err := c.configure(receiveBuffer); err != nil {
		unix.Close(fd)
		return nil, err
	}

	c.tx.server4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkPort(server.Port())}
	c.tx.server6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkPort(server.Port())}
	if v6 {
		c.tx.server6.Addr = server.Addr().As16()
	} else {
		c.tx.server4.Addr = server.Addr().As4()
	}
	for i := range Batch {
		for _, s := range []*side{c.tx, c.rx} {
			s.vector[i].Base = &s.payload[i][0]
			s.vector[i].SetLen(payloadSize)
			s.header[i].header.Iov = &s.vector[i]
			s.header[i].header.SetIovlen(1)
		}
		h := &c.tx.header[i].header
		h.Control = &c.tx.control[i][0]
		cmsg := (*unix.Cmsghdr)(unsafe.Pointer(h.Control))
		cmsg.Level = int32(level)
		if v6 {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.tx.server6)), unix.SizeofSockaddrInet6
			h.SetControllen(unix.CmsgSpace(unix.SizeofInet6Pktinfo))
			cmsg.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
			cmsg.Type = unix.IPV6_PKTINFO
		} else {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.tx.server4)), unix.SizeofSockaddrInet4
			h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
			cmsg.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
			cmsg.Type = unix.IP_PKTINFO
		}
	}
	return c, nil
}

func (c *Conn) configure(receiveBuffer int) error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
			return fmt.Errorf("receive buffer: %w", err)
		}
	}
	wait := unix.NsecToTimeval(int64(waitTime))
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return fmt.Errorf("receive timeout: %w", err)
	}
	if !c.v6 {
		return os.NewSyscallError("bind", unix.Bind(c.fd, &unix.SockaddrInet4{}))
	}
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
		return fmt.Errorf("IPv6 only: %w", err)
	}
	// The addresses are local by a route and not configured on an interface.
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1); err != nil {
		return fmt.Errorf("IPv6 free bind: %w", err)
	}
	return os.NewSyscallError("bind", unix.Bind(c.fd, &unix.SockaddrInet6{}))
}

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Payload is the buffer of the datagram at place i of the next batch to send.
func (c *Conn) Payload(i int) []byte { return c.tx.payload[i][:] }

// Stage sets the length and the client number of the datagram at place i.
func (c *Conn) Stage(i, length, source int) {
	c.tx.vector[i].SetLen(length)
	data := c.tx.control[i][unix.CmsgLen(0):]
	if c.v6 {
		putSourceV6(data[0:16], source) // in6_pktinfo: address, interface
	} else {
		binary.BigEndian.PutUint32(data[4:8], c.first+uint32(source)) // in_pktinfo: interface, source, destination
	}
}

// Send sends the first n staged datagrams. It returns how many went: a datagram that the kernel
// refuses ends the batch, with the reason.
func (c *Conn) Send(n int) (sent int, err error) {
	for sent < n {
		k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(c.fd),
			uintptr(unsafe.Pointer(&c.tx.header[sent])), uintptr(n-sent), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return sent, fmt.Errorf("sendmmsg: %w", errno)
		}
		sent += int(k)
	}
	return sent, nil
}

// Receive reads the datagrams that have arrived, at most a batch. With wait it
// blocks for the first datagram, at most 20 ms.
func (c *Conn) Receive(wait bool) (n int, err error) {
	var k uintptr
	var errno unix.Errno
	if wait {
		k, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd),
			uintptr(unsafe.Pointer(&c.rx.header[0])), Batch, unix.MSG_WAITFORONE, 0, 0)
	} else {
		k, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(c.fd),
			uintptr(unsafe.Pointer(&c.rx.header[0])), Batch, unix.MSG_DONTWAIT, 0, 0)
	}
	switch errno {
	case 0:
		return int(k), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, fmt.Errorf("recvmmsg: %w", errno)
}

// Received is the datagram at place i of the last batch taken, valid until the next Receive.
func (c *Conn) Received(i int) []byte { return c.rx.payload[i][:c.rx.header[i].length] }

// Source is the address of a client of a server on loopback by its number.
func Source(number int, v6 bool) netip.Addr {
	if v6 {
		var a [16]byte
		putSourceV6(a[:], number)
		return netip.AddrFrom16(a)
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], firstV4+uint32(number))
	return netip.AddrFrom4(a)
}

// 2001:db8:NNNN:NNNN::1: trackers that count by /64 see as many sources as there are addresses.
func putSourceV6(b []byte, number int) {
	b = b[:16]
	binary.BigEndian.PutUint32(b[0:], 0x20010db8)
	binary.BigEndian.PutUint32(b[4:], uint32(number))
	binary.BigEndian.PutUint64(b[8:], 1)
}

// networkPort is a port as a sockaddr holds it: in network order, whatever the machine's.
func networkPort(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}
