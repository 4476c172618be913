package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// This file maps a port by PCP (RFC 6887). It is hand-written: the Go packages
// for PCP are parts of large programs, and one MAP request of 60 bytes needs no
// more than this file.

// Constants of RFC 6887.
const (
	pcpPort    = 5351 // NAT-PMP's, too
	pcpVersion = 2

	pcpOpMap      = 1
	pcpReply      = 0x80 // in the byte of the opcode
	pcpUDP        = 17
	pcpHeaderSize = 24
	pcpMapSize    = 60
	pcpMaxSize    = 1100

	pcpSuccess            = 0
	pcpUnsupportedVersion = 1
)

// pcpErrors describes the result codes of section 7.4.
var pcpErrors = map[byte]string{
	1:  "unsupported version",
	2:  "not authorized",
	3:  "malformed request",
	4:  "unsupported operation",
	5:  "unsupported option",
	6:  "malformed option",
	7:  "network failure: the router has no public address now",
	8:  "no resources",
	9:  "unsupported protocol",
	10: "too many mappings for this host",
	11: "the router cannot provide the public port",
	12: "address mismatch: another NAT is between this host and the router",
	13: "too many remote peers",
}

var (
	errNoAnswer    = errors.New("no answer")
	errUnsupported = errors.New("not supported by the router")

	errPCPForeign = errors.New("not the reply to this request")
	errPCPBad     = errors.New("malformed PCP reply")
)

// udpWaits is how long to wait for a reply to each try of a request. A router on
// the LAN replies within milliseconds.
var udpWaits = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// nonce identifies a mapping. Only a request with the same nonce changes it.
type nonce [12]byte

// pcp is a mapping by PCP.
type pcp struct {
	router
	port     uint16 // of this host
	lifetime time.Duration
	nonce    nonce
	now      func() time.Time
	epoch    epoch
}

// pcpMapping is the content of a MAP reply.
type pcpMapping struct {
	public   netip.AddrPort
	lifetime time.Duration
	epoch    uint32
}

func (p *pcp) request(ctx context.Context, want uint16) (lease, error) {
	m, err := p.exchange(ctx, want, p.lifetime)
	if err != nil {
		return lease{}, err
	}
	return lease{public: m.public, lifetime: m.lifetime, restarted: p.epoch.restarted(m.epoch, p.now())}, nil
}

func (p *pcp) remove(ctx context.Context) error {
	_, err := p.exchange(ctx, 0, 0)
	return err
}

// exchange sends a MAP request and waits for its reply.
func (p *pcp) exchange(ctx context.Context, want uint16, lifetime time.Duration) (pcpMapping, error) {
	request := appendPCPMap(nil, p.local, p.nonce, p.port, want, lifetime)
	var m pcpMapping
	err := askUDP(ctx, p.router, request, func(reply []byte) (err error) {
		m, err = parsePCPMap(reply, p.nonce, p.port)
		return err
	})
	return m, err
}

// appendPCPMap appends a MAP request for UDP (sections 7.1 and 11.1).
func appendPCPMap(dst []byte, local netip.Addr, n nonce, port, want uint16, lifetime time.Duration) []byte {
	client := local.As16() // IPv4-mapped
	anyPublic := netip.IPv4Unspecified().As16()
	dst = append(dst, pcpVersion, pcpOpMap, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(lifetime/time.Second))
	dst = append(dst, client[:]...)
	dst = append(dst, n[:]...)
	dst = append(dst, pcpUDP, 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, port)
	dst = binary.BigEndian.AppendUint16(dst, want)
	return append(dst, anyPublic[:]...)
}

// parsePCPMap reads the reply to a MAP request (sections 7.2, 8.3 and 11.4). It
// returns errPCPForeign or errPCPBad for a datagram that is not the reply.
func parsePCPMap(b []byte, n nonce, port uint16) (pcpMapping, error) {
	// A server that knows NAT-PMP only replies with its own version.
	if len(b) >= 4 && b[0] == 0 {
		return pcpMapping{}, errUnsupported
	}
	if len(b) < pcpHeaderSize || len(b)%4 != 0 || len(b) > pcpMaxSize {
		return pcpMapping{}, errPCPBad
	}
	version, opcode, result := b[0], b[1], b[3]
	if opcode != pcpReply|pcpOpMap {
		return pcpMapping{}, errPCPForeign
	}
	if version != pcpVersion || result == pcpUnsupportedVersion {
		return pcpMapping{}, errUnsupported
	}
	// Error replies need not carry the rest. Those that do must be ours.
	if len(b) >= pcpMapSize && nonce(b[24:36]) != n {
		return pcpMapping{}, errPCPForeign
	}
	if result != pcpSuccess {
		if text := pcpErrors[result]; text != "" {
			return pcpMapping{}, refusal(text)
		}
		return pcpMapping{}, refusal(fmt.Sprintf("error %d", result))
	}
	if len(b) < pcpMapSize {
		return pcpMapping{}, errPCPBad
	}
	if b[36] != pcpUDP || binary.BigEndian.Uint16(b[40:]) != port {
		return pcpMapping{}, errPCPForeign
	}
	public := netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[44:60])).Unmap(), binary.BigEndian.Uint16(b[42:]))
	return pcpMapping{
		public:   public,
		lifetime: time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second,
		epoch:    binary.BigEndian.Uint32(b[8:]),
	}, nil
}

// askUDP sends a request to the router until parse accepts a reply or reports a
// refusal. The socket is connected, so the kernel drops datagrams from elsewhere.
func askUDP(ctx context.Context, r router, request []byte, parse func([]byte) error) error {
	conn, err := net.DialUDP("udp4", udpAddr(r.local, 0), udpAddr(r.gateway, pcpPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, pcpMaxSize+1)
	last := errNoAnswer
	for _, wait := range udpWaits {
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := conn.Write(request); err != nil {
			return closedPort(err)
		}
		for {
			n, err := conn.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return closedPort(err)
			}
			err = parse(buffer[:n])
			if !errors.Is(err, errPCPForeign) && !errors.Is(err, errPCPBad) {
				return err
			}
			last = err // wait for the true reply
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return last
}

// closedPort turns the error of a closed UDP port into errNoAnswer.
func closedPort(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return errNoAnswer
	}
	return err
}

func udpAddr(ip netip.Addr, port uint16) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}
