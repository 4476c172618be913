//go:build linux && !portable

package probe

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file is a resolver for host names (RFC 1035). It reads /etc/hosts and
// asks the name servers in /etc/resolv.conf.

// dnsPort is the port of name servers. Tests change it.
var dnsPort uint16 = 53

// LookUp returns the IPv4 and IPv6 addresses of a host name. It does not try
// search domains.
func LookUp(name string) ([]ipaddr.Addr, error) {
	hosts, _ := sys.ReadFile("/etc/hosts") // a missing file has no names
	conf, _ := sys.ReadFile("/etc/resolv.conf")
	return lookUp(name, string(hosts), string(conf))
}

// lookUp is LookUp with the text of both files.
func lookUp(name, hosts, conf string) ([]ipaddr.Addr, error) {
	name = textutil.Map(strings.TrimSuffix(name, "."), normalizeByte)
	if addrs := parseTable(hosts, func(f []string) string {
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
		return []ipaddr.Addr{ipaddr.Loopback4, ipaddr.Loopback6}, nil
	}
	servers := parseTable(conf, func(f []string) string {
		if f[0] == "nameserver" && len(f) > 1 {
			return f[1]
		}
		return ""
	})
	if servers == nil {
		servers = []ipaddr.Addr{ipaddr.Loopback4} // the default in resolv.conf(5)
	}
	return queryDNS(servers, dnsPort, name)
}

// normalizeByte returns a letter in lower case and a space for a tab.
func normalizeByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		c += 'a' - 'A'
	case c == '\t':
		c = ' '
	}
	return c
}

// parseTable returns the addresses in a file like /etc/hosts. pick gets the
// fields of a line, in lower case, and returns the field with the address, or "".
func parseTable(file string, pick func([]string) string) (addrs []ipaddr.Addr) {
	for _, line := range strings.Split(textutil.Map(file, normalizeByte), "\n") {
		line, _, _ = strings.Cut(line, "#")
		var fields []string
		for _, w := range strings.Split(line, " ") {
			if w != "" {
				fields = append(fields, w)
			}
		}
		if fields == nil {
			continue
		}
		if a, ok := ipaddr.Parse(pick(fields)); ok {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

var (
	errNotName    = errors.New("not a host name")
	errNoName     = errors.New("no such name")
	errNameServer = errors.New("no name server has an answer")
)

const (
	dnsHeaderSize = 12
	dnsA          = 1
	dnsAAAA       = 28
	dnsNoName     = 3 // the response code NXDOMAIN
)

// queryDNS asks name servers for the IPv4 and IPv6 addresses of a name (RFC
// 1035, section 4.1). The first reply for each record type counts.
func queryDNS(servers []ipaddr.Addr, port uint16, name string) (addrs []ipaddr.Addr, err error) {
	query := make([]byte, dnsHeaderSize, 512)
	if err := sys.Random(query[:2]); err != nil {
		return nil, err
	}
	query[2], query[5] = 1, 1 // recursion desired, one question
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || len(name) > 253 {
			return nil, errNotName
		}
		query = append(append(query, byte(len(label))), label...)
	}
	query = append(query, 0, 0, 0, 0, 1) // the root, a type, class IN
	err = errNameServer
	for _, recordType := range []byte{dnsA, dnsAAAA} {
		query[len(query)-3] = recordType
		for _, server := range servers {
			reply, failure := queryServer(ipaddr.Endpoint{Addr: server, Port: port}, query)
			if failure != nil {
				continue
			}
			if code := reply[3] & 15; code != 0 && code != dnsNoName {
				continue
			}
			err = errNoName
			addrs = append(addrs, dnsAnswers(reply, len(query), uint16(recordType))...)
			break
		}
	}
	if addrs != nil {
		err = nil
	}
	return addrs, err
}

// queryServer returns the reply of one name server.
func queryServer(server ipaddr.Endpoint, query []byte) ([]byte, error) {
	c, err := dial(server)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.exchange(query, func(b []byte) error {
		// A reply repeats the question.
		if len(b) >= len(query) && b[2]&0x80 != 0 &&
			string(b[:2]) == string(query[:2]) && string(b[dnsHeaderSize:len(query)]) == string(query[dnsHeaderSize:]) {
			return nil
		}
		return errNameServer
	})
}

// dnsAnswers returns the addresses in a reply whose answers begin at offset at.
// It stops where the reply is malformed. It does not compare the owner of a
// record, because the server follows aliases.
func dnsAnswers(reply []byte, at int, recordType uint16) (addrs []ipaddr.Addr) {
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
		if binary.BigEndian.Uint16(reply[at:]) == recordType {
			if n := end - at - 10; n == 4 || n == 16 {
				addrs = append(addrs, ipaddr.Addr{IP: string(reply[at+10 : end])})
			}
		}
		at = end
	}
	return addrs
}
