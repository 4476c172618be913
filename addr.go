package main

import (
	"strconv"
	"strings"
)

// This file owns IP addresses as people write them. (net/netip would cost 20 KB
// of flash.)

// ipAddr is an IP address. It can be compared with ==.
type ipAddr struct {
	ip   string // 4 or 16 bytes, in network order
	zone string // the interface that it is meant on, by name or number; "": any
}

// endpoint is an address with a port.
type endpoint struct {
	addr ipAddr
	port uint16
}

// What stands for all addresses of a host.
var (
	anyIPv4 = ipAddr{ip: "\x00\x00\x00\x00"}
	anyIPv6 = ipAddr{ip: anyIPv4.ip + anyIPv4.ip + anyIPv4.ip + anyIPv4.ip}
)

const mappedPrefix = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff" // ::ffff:0:0/96

func (a ipAddr) is6() bool { return len(a.ip) == 16 }

func familyName(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// isUnspecified says whether a is 0.0.0.0 or [::], on one interface or all.
func (a ipAddr) isUnspecified() bool { return strings.Trim(a.ip, "\x00") == "" }

// isLinkLocal6 says whether a is an IPv6 address that means something on its
// link only.
func (a ipAddr) isLinkLocal6() bool { return a.is6() && a.ip[0] == 0xfe && a.ip[1]&0xc0 == 0x80 }

// isMapped says whether a is an IPv4 address written as an IPv6 one.
func (a ipAddr) isMapped() bool { return a.is6() && strings.HasPrefix(a.ip, mappedPrefix) }

// unmap is the IPv4 address for a mapped one, and a for any other.
func (a ipAddr) unmap() ipAddr {
	if a.isMapped() {
		return ipAddr{ip: a.ip[len(mappedPrefix):]}
	}
	return a
}

// parseAddress reads a literal: 192.0.2.1, 2001:db8::1 or fe80::1%eth0.
func parseAddress(s string) (ipAddr, bool) {
	if !strings.Contains(s, ":") {
		ip, ok := parseIPv4(s)
		return ipAddr{ip: string(ip)}, ok
	}
	s, zone, zoned := strings.Cut(s, "%")
	ip, ok := parseIPv6(s)
	return ipAddr{ip: string(ip), zone: zone}, ok && zoned == (zone != "")
}

func parseIPv4(s string) ([]byte, bool) {
	fields := strings.Split(s, ".")
	ip := make([]byte, 0, 4)
	for _, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil || len(f) > 1 && f[0] == '0' { // some read 010 as 8
			return nil, false
		}
		ip = append(ip, byte(n))
	}
	return ip, len(ip) == 4
}

func parseIPv6(s string) ([]byte, bool) {
	before, after, gap := strings.Cut(s, "::")
	head, ok := parseGroups(before, !gap)
	tail, ok2 := parseGroups(after, true)
	zeros := 16 - len(head) - len(tail)
	if !ok || !ok2 || gap && zeros < 2 || !gap && zeros != 0 {
		return nil, false
	}
	return append(append(head, make([]byte, zeros)...), tail...), true
}

// parseGroups reads what stands on one side of "::": groups of up to four hex
// digits. The last of an address may be written as IPv4.
func parseGroups(s string, last bool) (ip []byte, ok bool) {
	for more := s != ""; more; {
		var group string
		group, s, more = strings.Cut(s, ":")
		if last && !more && strings.Contains(group, ".") {
			v4, ok := parseIPv4(group)
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

// String writes the address as RFC 5952 has it.
func (a ipAddr) String() string {
	zone := ""
	if a.zone != "" {
		zone = "%" + a.zone
	}
	var b []byte
	switch {
	case !a.is6():
		for i := range len(a.ip) {
			b = append(strconv.AppendUint(b, uint64(a.ip[i]), 10), '.')
		}
		return string(b[:max(0, len(b)-1)]) + zone
	case a.isMapped():
		return "::ffff:" + a.unmap().String() + zone
	}
	// The first of the longest runs of zero groups, if longer than one,
	// becomes "::".
	from, to := 16, 16
	for i := 0; i < 16; i += 2 {
		end := i
		for end < 16 && a.ip[end] == 0 && a.ip[end+1] == 0 {
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
		b = strconv.AppendUint(b, uint64(a.ip[i])<<8|uint64(a.ip[i+1]), 16)
	}
	return string(b) + zone
}

func (e endpoint) String() string {
	host := e.addr.String()
	if e.addr.is6() {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(e.port))
}

// translate replaces every byte of s. (What package strings has for case brings
// the tables of Unicode along.)
func translate(s string, f func(c byte) byte) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = f(c)
	}
	return string(b)
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}
