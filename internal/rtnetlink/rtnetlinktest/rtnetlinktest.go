//go:build linux

// Package rtnetlinktest changes the interfaces, addresses and routes of a network
// namespace that a test has for itself.
package rtnetlinktest

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Loopback is the number of lo in a new namespace.
const Loopback = 1

// InNamespace runs f in a network namespace of its own. It only logs what is
// missing if the test runs under an emulator, and skips the test without root.
func InNamespace(t *testing.T, f func()) {
	t.Helper()
	if _, err := net.Interfaces(); err != nil {
		t.Logf("package net can't ask the kernel (%v, as under emulation): not tested", err)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a network namespace: %v", err)
	}
	defer func() {
		if err := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // the thread is not usable for other tests
		}
	}()
	f()
}

// Message returns a message with its header and its padding.
func Message(kind, flags uint16, seq uint32, body ...[]byte) []byte {
	b := slices.Concat(body...)
	head := Number(uint32(unix.NLMSG_HDRLEN + len(b)))
	head = binary.NativeEndian.AppendUint16(head, kind)
	head = binary.NativeEndian.AppendUint16(head, flags)
	head = binary.NativeEndian.AppendUint32(head, seq)
	return pad(slices.Concat(head, make([]byte, 4), b))
}

// Attribute returns an attribute with its header and its padding.
func Attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	return pad(append(binary.NativeEndian.AppendUint16(b, kind), value...))
}

// Number returns a number in the byte order of the processor.
func Number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// pad extends b to a multiple of four bytes, as netlink does after each part.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// change asks the kernel to change something, and returns when it is done.
func change(t testing.TB, kind, flags uint16, body ...[]byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request := Message(kind, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK, 1, body...)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		t.Fatal(err)
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		t.Fatalf("request %d: answered by %x", kind, b[:n])
	}
	if code := -int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])); code != 0 {
		t.Fatalf("request %d: %v", kind, unix.Errno(code))
	}
}

const create = unix.NLM_F_CREATE | unix.NLM_F_EXCL

// SetUp makes an interface up or down.
func SetUp(t testing.TB, index uint32, up bool) {
	t.Helper()
	flags := uint32(0)
	if up {
		flags = unix.IFF_UP
	}
	// struct ifinfomsg: family, type, interface, flags, which of them change.
	change(t, unix.RTM_NEWLINK, 0, make([]byte, 4), Number(index), Number(flags), Number(unix.IFF_UP))
}

// AddInterface makes an interface that is up, and returns its number.
func AddInterface(t testing.TB, name string) uint32 {
	t.Helper()
	kind := Attribute(unix.IFLA_INFO_KIND, []byte("veth"))
	change(t, unix.RTM_NEWLINK, create, make([]byte, 16), Attribute(unix.IFLA_IFNAME, []byte(name+"\x00")), Attribute(unix.IFLA_LINKINFO, kind))
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	SetUp(t, uint32(i.Index), true)
	return uint32(i.Index)
}

// Remove removes an interface.
func Remove(t testing.TB, index uint32) {
	t.Helper()
	change(t, unix.RTM_DELLINK, 0, make([]byte, 4), Number(index), make([]byte, 8))
}

// SetAddress adds or removes an address of an interface.
func SetAddress(t testing.TB, index uint32, address string, add bool) {
	t.Helper()
	p := netip.MustParsePrefix(address)
	family, ip := byte(unix.AF_INET), p.Addr().AsSlice()
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	// struct ifaddrmsg: family, bits of the prefix, flags, scope, interface.
	head := append([]byte{family, byte(p.Bits()), unix.IFA_F_NODAD, 0}, Number(index)...)
	body := [][]byte{head, Attribute(unix.IFA_LOCAL, ip), Attribute(unix.IFA_ADDRESS, ip)}
	if !add {
		change(t, unix.RTM_DELADDR, 0, body...)
		return
	}
	change(t, unix.RTM_NEWADDR, create, body...)
	if p.Addr().Is6() {
		awaitUsable(t, p.Addr())
	}
}

// awaitUsable waits until an IPv6 address is not tentative any more. The kernel
// does that later, although it need not look for another host with the address.
func awaitUsable(t testing.TB, ip netip.Addr) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			// Address, interface, bits of the prefix, scope, flags, name.
			f := strings.Fields(line)
			if len(f) != 6 || f[0] != hex.EncodeToString(ip.AsSlice()) {
				continue
			}
			if flags, err := strconv.ParseUint(f[4], 16, 32); err == nil && flags&unix.IFA_F_TENTATIVE == 0 {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s is not usable", ip)
		}
	}
}

// SetRoute adds or removes the default route of a family by an interface. via is
// a gateway or "".
func SetRoute(t testing.TB, index uint32, v6 bool, metric uint32, via string, add bool) {
	t.Helper()
	family := byte(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	scope := byte(unix.RT_SCOPE_LINK)
	if v6 || via != "" {
		scope = unix.RT_SCOPE_UNIVERSE
	}
	// struct rtmsg: family, bits of destination, of source, tos, table, protocol,
	// scope, type, flags.
	head := []byte{family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, scope, unix.RTN_UNICAST, 0, 0, 0, 0}
	body := [][]byte{head, Attribute(unix.RTA_OIF, Number(index)), Attribute(unix.RTA_PRIORITY, Number(metric))}
	if via != "" {
		body = append(body, Attribute(unix.RTA_GATEWAY, netip.MustParseAddr(via).AsSlice()))
	}
	if add {
		change(t, unix.RTM_NEWROUTE, create, body...)
	} else {
		change(t, unix.RTM_DELROUTE, 0, body...)
	}
}
