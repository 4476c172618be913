// Package ipaddr has IP addresses as people write them. It is written by hand,
// because net/netip would cost 20 KB of a router's flash. Its tests compare it
// with net/netip.
package ipaddr

import (
	"strconv"
	"strings"
)

// Addr is an IP address. It can be compared with ==.
type Addr struct {
	IP   string // 4 or 16 bytes, in network order
	Zone string // the name or number of an interface; "": any
}

// Endpoint is an address with a port.
type Endpoint struct {
	Addr Addr
	Port uint16
}

// The unspecified addresses, which stand for all addresses of a host.
var (
	Any4 = Addr{IP: "\x00\x00\x00\x00"}
	Any6 = Addr{IP: Any4.IP + Any4.IP + Any4.IP + Any4.IP}
)

// The loopback addresses.
var (
	Loopback4 = Addr{IP: "\x7f\x00\x00\x01"}
	Loopback6 = Addr{IP: Any6.IP[:15] + "\x01"}
)

const mappedPrefix = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff" // ::ffff:0:0/96

func (a Addr) Is6() bool { return len(a.IP) == 16 }

// FamilyName returns "IPv4" or "IPv6".
//
//go:noinline
func FamilyName(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// IsUnspecified reports whether a is 0.0.0.0 or [::], on one interface or on
// all.
func (a Addr) IsUnspecified() bool { return strings.Trim(a.IP, "\x00") == "" }

// IsLinkLocal6 reports whether a is a link-local IPv6 address.
func (a Addr) IsLinkLocal6() bool { return a.Is6() && a.IP[0] == 0xfe && a.IP[1]&0xc0 == 0x80 }

// IsMapped reports whether a is an IPv4 address written as IPv6.
func (a Addr) IsMapped() bool { return a.Is6() && strings.HasPrefix(a.IP, mappedPrefix) }

// Unmap returns the IPv4 address of a mapped address, and any other address
// unchanged.
func (a Addr) Unmap() Addr {
	if a.IsMapped() {
		return Addr{IP: a.IP[len(mappedPrefix):]}
	}
	return a
}

// Parse parses an address: 192.0.2.1, 2001:db8::1 or fe80::1%eth0.
func Parse(s string) (Addr, bool) {
	if !strings.Contains(s, ":") {
		ip, ok := parse4(s)
		return Addr{IP: string(ip)}, ok
	}
	s, zone, zoned := strings.Cut(s, "%")
	ip, ok := parse6(s)
	return Addr{IP: string(ip), Zone: zone}, ok && zoned == (zone != "")
}

func parse4(s string) ([]byte, bool) {
	fields := strings.Split(s, ".")
	ip := make([]byte, 0, 4)
	for _, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil || len(f) > 1 && f[0] == '0' { // some programs read 010 as 8
			return nil, false
		}
		ip = append(ip, byte(n))
	}
	return ip, len(ip) == 4
}

func parse6(s string) ([]byte, bool) {
	before, after, gap := strings.Cut(s, "::")
	head, ok := parseGroups(before, !gap)
	tail, ok2 := parseGroups(after, true)
	zeros := 16 - len(head) - len(tail)
	if !ok || !ok2 || gap && zeros < 2 || !gap && zeros != 0 {
		return nil, false
	}
	return append(append(head, make([]byte, zeros)...), tail...), true
}

// parseGroups parses one side of "::": groups of up to four hexadecimal digits.
// The last group of an address may be an IPv4 address.
func parseGroups(s string, last bool) (ip []byte, ok bool) {
	for more := s != ""; more; {
		var group string
		group, s, more = strings.Cut(s, ":")
		if last && !more && strings.Contains(group, ".") {
			v4, ok := parse4(group)
			return append(ip, v4...), ok
		}
		n, err := strconv.ParseUint(group, 16, 16)
		if err != nil || len(group) > 4 {
			return nil, false
		}
		ip = append(ip, byte(n>>8), byte(n))
	}
	return ip, true
}

// String returns the address in the form of RFC 5952.
func (a Addr) String() string {
	zone := ""
	if a.Zone != "" {
		zone = "%" + a.Zone
	}
	var b []byte
	switch {
	case !a.Is6():
		for i := range len(a.IP) {
			b = append(strconv.AppendUint(b, uint64(a.IP[i]), 10), '.')
		}
		return string(b[:max(0, len(b)-1)]) + zone
	case a.IsMapped():
		return "::ffff:" + a.Unmap().String() + zone
	}
	// The first of the longest runs of zero groups, if longer than one,
	// becomes "::".
	from, to := 16, 16
	for i := 0; i < 16; i += 2 {
		end := i
		for end < 16 && a.IP[end] == 0 && a.IP[end+1] == 0 {
			end += 2
		}
		if end-i > max(2, to-from) {
			from, to = i, end
		}
	}
	for i := 0; i < 16; i += 2 {
		if i == from {
			b = append(b, "::"...)
			if i = to; i == 16 {
				break
			}
		} else if i > 0 {
			b = append(b, ':')
		}
		b = strconv.AppendUint(b, uint64(a.IP[i])<<8|uint64(a.IP[i+1]), 16)
	}
	return string(b) + zone
}

func (e Endpoint) String() string {
	host := e.Addr.String()
	if e.Addr.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(e.Port))
}
