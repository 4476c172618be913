//go:build linux && !portable

package rtnetlink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink/rtnetlinktest"
	"golang.org/x/sys/unix"
)

func netlinkMessage(kind, flags uint16, seq uint32, body ...[]byte) []byte {
	return rtnetlinktest.Message(kind, flags, seq, body...)
}

func netlinkAttribute(kind uint16, value []byte) []byte { return rtnetlinktest.Attribute(kind, value) }

func native(n uint32) []byte { return rtnetlinktest.Number(n) }

// routeHead is a struct rtmsg.
func routeHead(family, bits, table, kind byte) []byte {
	return []byte{family, bits, 0, 0, table, 3, 0, kind, 0, 0, 0, 0}
}

// addressHead is a struct ifaddrmsg.
func addressHead(family, flags, scope byte, index uint32) []byte {
	return append([]byte{family, 24, flags, scope}, native(index)...)
}

// told lists the parsed messages: routes of both families, addresses of
// interface 7, and notifications.
func told(b []byte) (all []string) {
	for m := (message{}); m.next(&b); {
		for _, v6 := range []bool{false, true} {
			m.defaultRoute(v6, func(index, metric uint32, gateway []byte) {
				text := fmt.Sprintf("%s route by %d at %d", ipaddr.FamilyName(v6), index, metric)
				if len(gateway) > 0 {
					text += " via " + ipaddr.Addr{IP: string(gateway)}.String()
				}
				all = append(all, text)
			})
			m.address(v6, 7, func(ip []byte) { all = append(all, ipaddr.Addr{IP: string(ip)}.String()) })
		}
		if m.changes() != 0 {
			all = append(all, "sign")
		}
		if m.kind == unix.NLMSG_ERROR {
			all = append(all, fmt.Sprint(m.failure()))
		}
	}
	return all
}

// TestNetlinkMessages checks that messages of the kernel are parsed, and that a
// message cut at any place does no harm.
func TestNetlinkMessages(t *testing.T) {
	const new4, route = unix.AF_INET, unix.RTM_NEWROUTE
	hop := func(index uint32, more ...byte) []byte {
		b := slices.Concat(binary.NativeEndian.AppendUint16(nil, uint16(8+len(more))), make([]byte, 2), native(index), more)
		return append(b, make([]byte, -len(b)&3)...)
	}
	oif := netlinkAttribute(unix.RTA_OIF, native(3))
	sized := func(size, kind uint16) []byte { // the header of an attribute with a wrong size
		return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, size), kind)
	}
	local, peer := netlinkAttribute(unix.IFA_LOCAL, []byte{192, 0, 2, 1}), netlinkAttribute(unix.IFA_ADDRESS, []byte{192, 0, 2, 2})
	ip6 := []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	address6 := netlinkAttribute(unix.IFA_ADDRESS, ip6)
	flags := func(n uint32) []byte { return netlinkAttribute(unix.IFA_FLAGS, native(n)) }
	for _, c := range []struct {
		message []byte
		want    string
	}{
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), oif), "IPv4 route by 3 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_PRIORITY, native(9)), oif), "IPv4 route by 3 at 9, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_GATEWAY, []byte{192, 168, 1, 1}), oif),
			"IPv4 route by 3 at 0 via 192.168.1.1, sign"},
		{netlinkMessage(route, 0, 0, routeHead(unix.AF_INET6, 0, 254, 1), oif), "IPv6 route by 3 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_PREFSRC, []byte{1}), oif), "IPv4 route by 3 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_PREFSRC, []byte{1, 2, 3}), oif), "IPv4 route by 3 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_PREFSRC, nil), oif), "IPv4 route by 3 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), sized(3, unix.RTA_PREFSRC), oif), "sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), oif, sized(9, unix.RTA_PRIORITY), native(7)), "IPv4 route by 3 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 24, 254, 1), oif), ""},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 253, 1), oif), "sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 7), oif), "sign"}, // unreachable
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1)), "sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_OIF, native(3)[:3])), "sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_MULTIPATH, slices.Concat(hop(4, 1, 2, 3), hop(5)))),
			"IPv4 route by 4 at 0, IPv4 route by 5 at 0, sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_MULTIPATH, []byte{7, 7, 0, 0, 4, 0, 0})), "sign"},
		{netlinkMessage(route, 0, 0, routeHead(new4, 0, 254, 1), netlinkAttribute(unix.RTA_MULTIPATH, make([]byte, 16))), "sign"},
		{netlinkMessage(unix.RTM_DELROUTE, 0, 0, routeHead(new4, 0, 254, 1), oif), "sign"},
		{netlinkMessage(unix.RTM_DELROUTE, 0, 0, routeHead(new4, 1, 254, 1), oif), ""},
		{netlinkMessage(unix.RTM_NEWLINK, 0, 0), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, 0, 0, 7), peer, local), "192.0.2.1, sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, unix.IFA_F_SECONDARY, 0, 7), local, peer), "192.0.2.1, sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, 0, 0, 8), local), "sign"},
		{netlinkMessage(unix.RTM_DELADDR, 0, 0, addressHead(new4, 0, 0, 7), local), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, 0, 0, 7)[:4]), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, 0, 253, 7), local), "sign"}, // of the link
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, 0, 0, 7), address6), "2001:db8::1, sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, 0, 0, 7), address6, flags(0x200)), "2001:db8::1, sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, 0, 0, 7), address6, flags(unix.IFA_F_TEMPORARY)), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, 0, 0, 7), address6, flags(unix.IFA_F_TENTATIVE)), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, unix.IFA_F_DEPRECATED, 0, 7), address6), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, unix.IFA_F_DADFAILED, 0, 7), address6), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET6, unix.IFA_F_DEPRECATED, 0, 7), address6, flags(0x200)), "2001:db8::1, sign"}, // the attribute has all bits
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, unix.IFA_F_TENTATIVE, 0, 7), local), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, unix.IFA_F_DADFAILED, 0, 7), local), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, unix.IFA_F_DEPRECATED, 0, 7), local), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, 0, 0, 7)), "sign"},
		{netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(new4, 0, 0, 7), address6), "sign"},
		{netlinkMessage(unix.NLMSG_ERROR, 0, 0, native(0)), "sign, <nil>"},
		{netlinkMessage(unix.NLMSG_ERROR, 0, 0, native(^uint32(0))), "sign, " + unix.EPERM.Error()},
		{netlinkMessage(unix.NLMSG_ERROR, 0, 0), "sign, " + unix.EPROTO.Error()},
		{native(15), ""},
		{slices.Concat(native(15), make([]byte, 12)), ""},
		{slices.Concat(native(1000), make([]byte, 12)), ""},
		{slices.Concat(native(0xfffffffc), make([]byte, 12)), ""},
	} {
		if got := strings.Join(told(c.message), ", "); got != c.want {
			t.Errorf("%x: %s, want %s", c.message, got, c.want)
		}
		// The messages that follow are parsed too, whatever padding is before them.
		for n := range 5 {
			first := netlinkMessage(unix.RTM_DELLINK, 0, 0, make([]byte, n))
			if got := strings.Join(told(slices.Concat(first, c.message)), ", "); strings.TrimPrefix(got, "sign") != strings.TrimSuffix(", "+c.want, ", ") {
				t.Errorf("%x: %s behind another with %d bytes, want %s", c.message, got, n, c.want)
			}
		}
		for n := range c.message {
			if got := told(c.message[:n]); len(got) > 0 {
				t.Errorf("%x: %s", c.message[:n], got)
			}
		}
	}
}

// FuzzNetlink checks that no message is read beyond its end, and that the
// results are addresses and interfaces.
func FuzzNetlink(f *testing.F) {
	f.Add(netlinkMessage(unix.RTM_NEWROUTE, 0, 0, routeHead(unix.AF_INET, 0, 254, 1), netlinkAttribute(unix.RTA_OIF, native(3))))
	f.Add(netlinkMessage(unix.RTM_NEWROUTE, 0, 0, routeHead(unix.AF_INET6, 0, 254, 1), netlinkAttribute(unix.RTA_MULTIPATH, append([]byte{8, 0, 0, 0}, native(4)...))))
	f.Add(netlinkMessage(unix.RTM_NEWADDR, 0, 0, addressHead(unix.AF_INET, 0, 0, 7), netlinkAttribute(unix.IFA_LOCAL, []byte{192, 0, 2, 1})))
	f.Add(netlinkMessage(unix.NLMSG_ERROR, 0, 0, native(0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		// A copy of exact length, so that a read beyond its end fails.
		whole := told(slices.Clip(bytes.Clone(b)))
		// A message has the same meaning after another message.
		before := netlinkMessage(unix.RTM_NEWLINK, 0, 0)
		if got := told(append(before, b...)); !slices.Equal(got[1:], whole) {
			t.Errorf("%q, behind another %q", whole, got)
		}
	})
}

// TestNetlink asks the real kernel. lo has no usable address. Package net knows
// all other interfaces and addresses that are found.
func TestNetlink(t *testing.T) {
	n, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Logf("package net can't ask either (%v, as under emulation): only the waiting is tested", err)
	} else if err := n.dump(&dumpRequest{Len: unix.NLMSG_HDRLEN + unix.SizeofRtMsg, Type: unix.RTM_MAX + 4, Family: unix.AF_INET}, func(*message) { t.Error("it is answered") }); err == nil {
		t.Error("the kernel's refusal of a question is not seen")
	}
	for _, v6 := range []bool{false, true} {
		if err != nil {
			break
		}
		routes := 0
		if err := n.DefaultRoutes(v6, func(index, _ uint32, _ []byte) {
			routes++
			if !slices.ContainsFunc(interfaces, func(i net.Interface) bool { return uint32(i.Index) == index }) {
				t.Errorf("a route by %d, which is no interface", index)
			}
		}); err != nil {
			t.Errorf("%s routes: %v", ipaddr.FamilyName(v6), err)
		}
		if want := defaultRoutes(t); !v6 && routes != want {
			t.Errorf("got %d default routes, want %d as in /proc/net/route", routes, want)
		}
		addresses, want := 0, 0
		for _, i := range interfaces {
			known, err := i.Addrs()
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range known {
				if ip := a.(*net.IPNet).IP; !v6 && ip.To4() != nil && ip.IsGlobalUnicast() {
					want++
				}
			}
			if err := n.Addresses(v6, uint32(i.Index), func(ip []byte) {
				addresses++
				is := func(a net.Addr) bool { return a.(*net.IPNet).IP.Equal(ip) }
				if (len(ip) == 16) != v6 || !slices.ContainsFunc(known, is) || net.IP(ip).IsLoopback() {
					t.Errorf("%s has the address %v", i.Name, net.IP(ip))
				}
			}); err != nil {
				t.Errorf("%s addresses: %v", ipaddr.FamilyName(v6), err)
			}
		}
		if !v6 && addresses != want {
			t.Errorf("got %d IPv4 addresses, want the %d that package net knows", addresses, want)
		}
	}
	woken := make(chan error, 1)
	for range 3 {
		go func() {
			_, err := n.Wait()
			woken <- err
		}()
		n.Wake()
		select {
		case err := <-woken:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it waits on")
		}
	}
}

// defaultRoutes returns the number of IPv4 default routes of the main table.
func defaultRoutes(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/route")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		// Interface, destination, gateway, flags, ..., mask.
		if len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			n++
		}
	}
	return n
}

// dumpOf returns the result of a dump of default routes if the kernel answers with
// these messages.
func dumpOf(t *testing.T, messages ...[]byte) (indexes []uint32, changed Changes, err error) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for _, b := range messages {
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
	}
	n := &Conn{fd: fds[0]}
	err = n.DefaultRoutes(false, func(index, _ uint32, _ []byte) { indexes = append(indexes, index) })
	return indexes, n.changed, err
}

// TestDump checks which messages count as the reply to a request: only those with
// its number, up to the end or to an error. A table that changed during the dump
// is read again.
func TestDump(t *testing.T) {
	route := func(flags uint16, seq, index uint32) []byte {
		return netlinkMessage(unix.RTM_NEWROUTE, flags, seq, routeHead(unix.AF_INET, 0, 254, 1), netlinkAttribute(unix.RTA_OIF, native(index)))
	}
	const multi = unix.NLM_F_MULTI
	failure := func(seq uint32, err unix.Errno) []byte {
		return netlinkMessage(unix.NLMSG_ERROR, 0, seq, native(-uint32(err)))
	}
	done := func(seq uint32) []byte { return netlinkMessage(unix.NLMSG_DONE, multi, seq, native(0)) }
	for _, c := range []struct {
		name    string
		kernel  [][]byte
		indexes []uint32
		changed Changes
		err     error
	}{
		{name: "reply", kernel: [][]byte{route(multi, 1, 3), route(multi, 1, 4), done(1)}, indexes: []uint32{3, 4}, changed: 0},
		{name: "one datagram", kernel: [][]byte{slices.Concat(route(multi, 1, 3), route(multi, 1, 4), done(1))}, indexes: []uint32{3, 4}, changed: 0},
		{name: "rest of an earlier reply", kernel: [][]byte{route(multi, 0, 9), done(0), route(multi, 1, 3), done(1)}, indexes: []uint32{3}, changed: allChanged},
		{name: "error of an earlier request", kernel: [][]byte{failure(0, unix.EBUSY), route(multi, 1, 3), done(1)}, indexes: []uint32{3}, changed: allChanged},
		{name: "notification", kernel: [][]byte{route(0, 0, 9), route(multi, 1, 3), done(1)}, indexes: []uint32{3}, changed: RoutesChanged},
		{name: "notification with the number", kernel: [][]byte{route(0, 1, 9), route(multi, 1, 3), done(1)}, indexes: []uint32{3}, changed: RoutesChanged},
		{name: "two notifications", kernel: [][]byte{netlinkMessage(unix.RTM_NEWLINK, 0, 0), route(0, 0, 9), route(multi, 1, 3), done(1)}, indexes: []uint32{3}, changed: LinksChanged | RoutesChanged},
		{name: "interrupted", kernel: [][]byte{route(multi|unix.NLM_F_DUMP_INTR, 1, 3), done(1)}, indexes: []uint32{3}, changed: allChanged},
		{name: "error", kernel: [][]byte{route(multi, 1, 3), failure(1, unix.EBUSY)}, indexes: []uint32{3}, changed: 0, err: unix.EBUSY},
		{name: "no such table", kernel: [][]byte{failure(1, unix.ENOENT)}, changed: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			indexes, changed, err := dumpOf(t, c.kernel...)
			if !slices.Equal(indexes, c.indexes) || changed != c.changed || err != c.err {
				t.Errorf("got %d, changed %b, %v, want %d, %b, %v", indexes, changed, err, c.indexes, c.changed, c.err)
			}
		})
	}
}

// TestAddressesOfMissing checks that an interface which has gone has no addresses,
// and that other errors are reported.
func TestAddressesOfMissing(t *testing.T) {
	for refusal, want := range map[unix.Errno]error{unix.ENODEV: nil, unix.EBUSY: unix.EBUSY} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		if _, err := unix.Write(fds[1], netlinkMessage(unix.NLMSG_ERROR, 0, 1, native(-uint32(refusal)))); err != nil {
			t.Fatal(err)
		}
		n := &Conn{fd: fds[0]}
		if err := n.Addresses(false, 7, func([]byte) { t.Error("got an address") }); err != want {
			t.Errorf("%v: got %v, want %v", refusal, err, want)
		}
	}
}

// TestDumpWaits checks that a reply that comes late is awaited, and that without
// a reply there is an error instead of an endless wait.
func TestDumpWaits(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	n := &Conn{fd: fds[0]}
	defer unix.Close(n.fd)
	go func() {
		request := make([]byte, 64)
		for {
			if _, err := unix.Read(fds[1], request); err != unix.EAGAIN {
				break
			}
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fds[1]), Events: unix.POLLIN}}, 20_000)
		}
		_, _ = unix.Write(fds[1], netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, native(0)))
	}()
	if err := n.DefaultRoutes(false, func(uint32, uint32, []byte) {}); err != nil {
		t.Errorf("late reply: %v", err)
	}
	start := time.Now()
	if err := n.DefaultRoutes(false, func(uint32, uint32, []byte) {}); err != unix.EAGAIN {
		t.Errorf("no reply: got %v, want %v", err, unix.EAGAIN)
	}
	if took := time.Since(start); took < replyTimeout {
		t.Errorf("no reply: gave up after %v, want %v", took, replyTimeout)
	}
}

// TestNetlinkSameNumber checks that a notification with our number is not
// mistaken for a reply. Its number is that of the request of another program.
func TestNetlinkSameNumber(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	n := &Conn{fd: fds[0]}
	defer unix.Close(n.fd)
	route := slices.Concat(routeHead(unix.AF_INET, 0, 254, 1), netlinkAttribute(unix.RTA_OIF, native(3)))
	for _, b := range [][]byte{
		netlinkMessage(unix.RTM_DELROUTE, 0, 1, route),
		netlinkMessage(unix.RTM_NEWROUTE, unix.NLM_F_MULTI, 1, route),
		netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, native(0)),
	} {
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
	}
	routes := 0
	err = n.DefaultRoutes(false, func(uint32, uint32, []byte) { routes++ })
	if err != nil || routes != 1 || n.changed != RoutesChanged {
		t.Errorf("%d routes, changed %v: %v", routes, n.changed, err)
	}
}

// TestWaitAddsUp checks that Wait reports all changes of a datagram, waits on after
// what changes nothing, and reports what came during a dump.
func TestWaitAddsUp(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	n := &Conn{fd: fds[0], file: os.NewFile(uintptr(fds[0]), "test")}
	defer n.Close()
	if n.waiting, err = n.file.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	if err := n.file.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	send := func(messages ...[]byte) {
		t.Helper()
		if _, err := unix.Write(fds[1], slices.Concat(messages...)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, want Changes) {
		t.Helper()
		if got, err := n.Wait(); got != want || err != nil {
			t.Errorf("%s: got %b, %v, want %b", what, got, err, want)
		}
	}
	link, address := netlinkMessage(unix.RTM_NEWLINK, 0, 0), netlinkMessage(unix.RTM_NEWADDR, 0, 0)
	other := netlinkMessage(unix.RTM_NEWROUTE, 0, 0, routeHead(unix.AF_INET, 24, 254, 1))
	send(link, address)
	expect("two changes", LinksChanged|AddressesChanged)
	send(link, other)
	expect("a change and another message", LinksChanged)
	send(other)
	send(address)
	expect("after another message", AddressesChanged)
	n.changed = RoutesChanged
	expect("during a dump", RoutesChanged)
	if n.changed != 0 {
		t.Errorf("%b is reported again", n.changed)
	}
}

// TestAddressRequest checks the request for the addresses of one interface against
// struct nlmsghdr and struct ifaddrmsg. With another number the kernel would list
// the addresses of all interfaces.
func TestAddressRequest(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if _, err := unix.Write(fds[1], netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, 1, native(0))); err != nil {
		t.Fatal(err)
	}
	n := &Conn{fd: fds[0]}
	if err := n.Addresses(true, 7, func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	size, err := unix.Read(fds[1], got)
	if err != nil {
		t.Fatal(err)
	}
	want := netlinkMessage(unix.RTM_GETADDR, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1, []byte{unix.AF_INET6, 0, 0, 0}, native(7))
	if got = got[:size]; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestChanges checks what may have changed by each notification. After a lost
// notification, anything may have changed.
func TestChanges(t *testing.T) {
	for _, c := range []struct {
		name string
		kind uint16
		body []byte
		want Changes
	}{
		{name: "interface", kind: unix.RTM_NEWLINK, want: LinksChanged},
		{name: "interface gone", kind: unix.RTM_DELLINK, want: LinksChanged},
		{name: "address", kind: unix.RTM_NEWADDR, want: AddressesChanged},
		{name: "address gone", kind: unix.RTM_DELADDR, want: AddressesChanged},
		{name: "default route", kind: unix.RTM_NEWROUTE, body: routeHead(unix.AF_INET, 0, 254, 1), want: RoutesChanged},
		{name: "default route gone", kind: unix.RTM_DELROUTE, body: routeHead(unix.AF_INET6, 0, 254, 1), want: RoutesChanged},
		{name: "route without a header", kind: unix.RTM_NEWROUTE, body: []byte{unix.AF_INET}, want: RoutesChanged},
		{name: "other route", kind: unix.RTM_NEWROUTE, body: routeHead(unix.AF_INET, 24, 254, 1), want: 0},
		{name: "something else", kind: 999, want: allChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (&message{kind: c.kind, body: c.body}).changes(); got != c.want {
				t.Errorf("got %b, want %b", got, c.want)
			}
		})
	}
}

// TestWaitFails checks that Wait reports that it cannot read and that it cannot wait.
func TestWaitFails(t *testing.T) {
	n, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	fd := n.fd
	n.fd = -1
	if changed, err := n.Wait(); err != unix.EBADF || changed != 0 {
		t.Errorf("got %b, %v, want %v", changed, err, unix.EBADF)
	}
	n.fd = fd
	n.Close()
	if changed, err := n.Wait(); err == nil || changed != 0 {
		t.Errorf("closed: got %b, %v, want an error", changed, err)
	}
}

// TestInterfaceIndex checks which names are found. An interface that is missing may
// come later; another name is an error.
func TestInterfaceIndex(t *testing.T) {
	text, err := os.ReadFile("/sys/class/net/lo/ifindex")
	if err != nil {
		t.Fatal(err)
	}
	var lo uint32
	if _, err := fmt.Sscan(string(text), &lo); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		want  uint32
		fails bool
	}{
		{name: "lo", want: lo},
		{name: "7", want: 7},
		{name: "4294967295", want: 1<<32 - 1},
		{name: "4294967296", want: 0}, // not a number of an interface, so a name
		{name: "absent0", want: 0},
		{name: "fifteen-bytes-x", want: 0},
		{name: "sixteen-bytes-xx", fails: true},
	} {
		if got, err := InterfaceIndex(c.name); got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: got %d, %v, want %d", c.name, got, err, c.want)
		}
	}
}

// TestNoDescriptor checks that without a file descriptor there is an error, and not an
// interface that is missing.
func TestNoDescriptor(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, indexErr := InterfaceIndex("lo")
	_, openErr := Open()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if indexErr != unix.EMFILE || openErr != unix.EMFILE {
		t.Errorf("got %v and %v, want %v", indexErr, openErr, unix.EMFILE)
	}
}
