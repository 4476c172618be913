//go:build linux && !portable

package probe

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/probe/probetest"
)

func TestParseTable(t *testing.T) {
	const hosts = "# comment\n127.0.0.1\tlocalhost  Tracker.Example.ORG\n\n" +
		"::1 localhost # tracker\nbad tracker\n192.0.2.7   tracker # own\n192.0.2.8\n192.0.2.9 @AZ["
	find := func(name string) string {
		var got []string
		for _, a := range parseTable(hosts, func(f []string) string {
			if slices.Contains(f[1:], name) {
				return f[0]
			}
			return ""
		}) {
			got = append(got, a.String())
		}
		return strings.Join(got, " ")
	}
	for name, want := range map[string]string{
		"localhost": "127.0.0.1 ::1", "tracker": "192.0.2.7", "own": "", "192.0.2.8": "",
		"tracker.example.org": "127.0.0.1", "@az[": "192.0.2.9",
	} {
		if got := find(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// dnsReply answers a query with records, each with the owner as a pointer.
func dnsReply(query []byte, rcode byte, records ...[]byte) []byte {
	r := append([]byte(nil), query...)
	r[2] |= 0x80
	r[3] = 0x80 | rcode // recursion available
	binary.BigEndian.PutUint16(r[6:], uint16(len(records)))
	for _, rec := range records {
		r = append(r, 0xc0, dnsHeaderSize)
		r = append(r, rec...)
	}
	return r
}

func dnsRecord(kind byte, data ...byte) []byte {
	return append([]byte{0, kind, 0, 1, 0, 0, 0, 60, 0, byte(len(data))}, data...)
}

func TestQueryDNS(t *testing.T) {
	six := netip.MustParseAddr("2001:db8::7").As16()
	var asked atomic.Int32
	port := probetest.Serve(t, "udp4", "127.0.0.1:0", func(q []byte) [][]byte {
		name := ""
		at := dnsHeaderSize
		for q[at] != 0 {
			name += string(q[at+1:at+1+int(q[at])]) + "."
			at += 1 + int(q[at])
		}
		kind := q[at+2]
		asked.Add(1)
		switch {
		case name == "gone.example.":
			return [][]byte{dnsReply(q, 3)}
		case name == "broken.example.":
			return [][]byte{dnsReply(q, 2)}
		case name == "sometimes.example." && asked.Load()%2 == 1:
			return [][]byte{dnsReply(q, 2)}
		case kind == dnsA:
			wrong := dnsRecord(dnsA, 192, 0, 2, 66)
			otherID, otherName, notReply := dnsReply(q, 0, wrong), dnsReply(q, 0, wrong), dnsReply(q, 0, wrong)
			otherID[1] ^= 1
			otherName[len(q)-6] ^= 1
			notReply[2] &^= 0x80
			alias := dnsRecord(5, 1, 'x', 0xc0, dnsHeaderSize)
			return [][]byte{otherID, otherName, notReply, q[:len(q)-1], {},
				dnsReply(q, 0, alias, dnsRecord(dnsA, 192, 0, 2, 7), dnsRecord(dnsA, 192, 0, 2, 8))}
		default:
			return [][]byte{dnsReply(q, 0, dnsRecord(dnsAAAA, six[:]...))}
		}
	})
	local := []ipaddr.Addr{ipaddr.Loopback4}
	// Nothing listens on the second loopback address: refused at once.
	two := []ipaddr.Addr{{IP: "\x7f\x00\x00\x02"}, local[0]}

	label := strings.Repeat("x", 63)
	for _, test := range []struct {
		name    string
		servers []ipaddr.Addr
		host    string
	}{
		{name: "one server", servers: local, host: "t.example"},
		{name: "the first server does not run", servers: two, host: "t.example"},
		{name: "the first server fails", servers: []ipaddr.Addr{local[0], local[0]}, host: "sometimes.example"},
		{name: "two servers", servers: []ipaddr.Addr{local[0], local[0]}, host: "t.example"},
		{name: "the longest label", servers: local, host: label},
		{name: "the longest name", servers: local, host: label + "." + label + "." + label + "." + label[:61]},
	} {
		asked.Store(0)
		addrs, err := queryDNS(test.servers, port, test.host)
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		const want = "192.0.2.7 192.0.2.8 2001:db8::7"
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, %v, want %s", test.name, got, err, want)
		}
	}
	if _, err := queryDNS(two, port, "gone.example"); err != errNoName {
		t.Errorf("a name that does not exist: got %v, want %v", err, errNoName)
	}
	if _, err := queryDNS(local, port, "broken.example"); err != errNameServer {
		t.Errorf("a server that fails: got %v, want %v", err, errNameServer)
	}
	before := asked.Load()
	for _, name := range []string{"", "a..b", ".a", strings.Repeat("x", 64), label + "." + label + "." + label + "." + label[:62]} {
		if _, err := queryDNS(local, port, name); err != errNotName {
			t.Errorf("%q: got %v, want %v", name, err, errNotName)
		}
	}
	if n := asked.Load() - before; n != 0 {
		t.Errorf("got %d queries for invalid names, want 0", n)
	}
}

// TestLookUp finds a name in the hosts file, or asks the servers in resolv.conf.
func TestLookUp(t *testing.T) {
	dnsPort = probetest.Serve(t, "udp4", "127.0.0.1:0", func(q []byte) [][]byte {
		if q[len(q)-3] != dnsA {
			return [][]byte{dnsReply(q, dnsNoName)}
		}
		return [][]byte{dnsReply(q, 0, dnsRecord(dnsA, 192, 0, 2, 53))}
	})
	t.Cleanup(func() { dnsPort = 53 })
	const (
		hosts = "127.0.0.1 localhost\n192.0.2.1 one.example one\n192.0.2.2 two ONE\n"
		conf  = "# nameserver 192.0.2.66\nsearch example\nnameserver\noptions 192.0.2.67\nnameserver 127.0.0.1\n"
		asked = "192.0.2.53"
	)
	for _, test := range []struct{ name, host, hosts, conf, want string }{
		{name: "the first alias", host: "one.example", hosts: hosts, conf: conf, want: "192.0.2.1"},
		{name: "an alias of two lines", host: "one", hosts: hosts, conf: conf, want: "192.0.2.1 192.0.2.2"},
		{name: "capitals and a dot at the end", host: "TWO.", hosts: hosts, conf: conf, want: "192.0.2.2"},
		{name: "localhost in the file", host: "localhost", hosts: hosts, conf: conf, want: "127.0.0.1"},
		{name: "localhost without the file", host: "localhost", conf: conf, want: "127.0.0.1 ::1"},
		{name: "another name", host: "three", hosts: hosts, conf: conf, want: asked},
		{name: "an address is not a name", host: "192.0.2.1.example", hosts: hosts, conf: conf, want: asked},
		{name: "no resolv.conf", host: "three", hosts: hosts, want: asked},
	} {
		addrs, err := lookUp(test.host, test.hosts, test.conf)
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %v, %v, want %s", test.name, got, err, test.want)
		}
	}
	// The files of this machine. A name that is not valid asks no server.
	if addrs, err := LookUp("localhost"); err != nil || !slices.Contains(addrs, ipaddr.Loopback4) && !slices.Contains(addrs, ipaddr.Loopback6) {
		t.Errorf("localhost: got %v, %v, want a loopback address", addrs, err)
	}
	if addrs, err := LookUp("not..a.name"); addrs != nil || err != errNotName {
		t.Errorf("an invalid name: got %v, %v, want %v", addrs, err, errNotName)
	}
}

// TestDNSAnswers reads records whose owners are written in each way.
func TestDNSAnswers(t *testing.T) {
	header := []byte{6: 0, 7: 2, 11: 0} // two answers
	record, last := dnsRecord(dnsA, 192, 0, 2, 7), dnsRecord(dnsA, 192, 0, 2, 8)
	for _, test := range []struct {
		name, owner string
		record      []byte
		kind        uint16
		want        int
	}{
		{name: "pointer", owner: "\xc0\x0c", record: record, kind: dnsA, want: 2},
		{name: "pointer to a high offset", owner: "\xff\x00", record: record, kind: dnsA, want: 2},
		{name: "root", owner: "\x00", record: record, kind: dnsA, want: 2},
		{name: "labels", owner: "\x01a\x02bc\x00", record: record, kind: dnsA, want: 2},
		{name: "labels and a pointer", owner: "\x01a\x02bc\xc0\x0c", record: record, kind: dnsA, want: 2},
		{name: "another type", owner: "\x00", record: dnsRecord(16, 'a', 'b', 'c', 'd'), kind: dnsA, want: 1},
		{name: "another type is wanted", owner: "\x00", record: record, kind: dnsAAAA},
		{name: "3 bytes", owner: "\x00", record: dnsRecord(dnsA, 192, 0, 2), kind: dnsA, want: 1},
		{name: "5 bytes", owner: "\x00", record: dnsRecord(dnsA, 192, 0, 2, 7, 0), kind: dnsA, want: 1},
		{name: "15 bytes", owner: "\x00", record: dnsRecord(dnsAAAA, make([]byte, 15)...), kind: dnsAAAA},
		{name: "16 bytes", owner: "\x00", record: dnsRecord(dnsAAAA, make([]byte, 16)...), kind: dnsAAAA, want: 1},
		{name: "17 bytes", owner: "\x00", record: dnsRecord(dnsAAAA, make([]byte, 17)...), kind: dnsAAAA},
	} {
		reply := slices.Concat(header, []byte(test.owner), test.record, []byte("\x00"), last)
		if got := dnsAnswers(reply, len(header), test.kind); len(got) != test.want {
			t.Errorf("%s: got %v, want %d addresses", test.name, got, test.want)
		}
	}
	// A record that is longer than the reply is the end, even if its bytes from the
	// type on are another record.
	reply := slices.Concat(header, []byte("\x00\x00"), dnsRecord(dnsA, 192, 0, 2, 7))
	reply[len(reply)-7] = 0xff // in the time to live of that record
	if got := dnsAnswers(reply, len(header)+1, dnsA); len(got) != 1 {
		t.Errorf("a record: got %v, want its address", got)
	}
	if got := dnsAnswers(reply, len(header), dnsA); len(got) != 0 {
		t.Errorf("a record that is longer than the reply: got %v", got)
	}
	// Addresses of name servers follow the answers.
	for answers := range byte(3) {
		header[7] = answers
		reply := slices.Concat(header, []byte("\x00"), record, []byte("\x00"), last)
		if got := dnsAnswers(reply, len(header), dnsA); len(got) != int(answers) {
			t.Errorf("%d answers and other records: got %v", answers, got)
		}
	}
}

func FuzzDNSAnswers(f *testing.F) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01t\x07example\x00\x00\x01\x00\x01")
	f.Add(dnsReply(query, 0, dnsRecord(dnsA, 192, 0, 2, 7)), len(query))
	f.Add(dnsReply(query, 0, dnsRecord(dnsA, 192, 0, 2)), len(query))
	f.Add(append(dnsReply(query, 0)[:7:7], 200), 8)
	f.Fuzz(func(t *testing.T, reply []byte, at int) {
		if at < dnsHeaderSize || at > len(reply) {
			return // queryServer checks that the reply has the whole question
		}
		for _, kind := range []uint16{dnsA, dnsAAAA} {
			addrs := dnsAnswers(reply, at, kind)
			if len(addrs) > (len(reply)-at)/15 {
				t.Errorf("got %d addresses in %d bytes", len(addrs), len(reply)-at)
			}
		}
	})
}

func TestDNSAnswersCutShort(t *testing.T) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01t\x00\x00\x01\x00\x01")
	whole := dnsReply(query, 0, dnsRecord(dnsA, 192, 0, 2, 7), dnsRecord(dnsA, 192, 0, 2, 8))
	for n := len(query); n <= len(whole); n++ {
		want := 0
		if n >= len(query)+16 {
			want++
		}
		if n >= len(query)+32 {
			want++
		}
		if got := dnsAnswers(whole[:n:n], len(query), dnsA); len(got) != want {
			t.Errorf("cut to %d bytes: got %v, want %d addresses", n, got, want)
		}
	}
}
