//go:build linux && !portable

package rtnetlink

import (
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"golang.org/x/sys/unix"
)

// inNamespace runs f in a network namespace of its own, if this process may make
// one.
func inNamespace(t *testing.T, f func(t *testing.T)) {
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
	f(t)
}

// change asks the kernel to change something, and returns when it is done.
func change(t *testing.T, kind uint16, body ...[]byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if kind == unix.RTM_NEWROUTE || kind == unix.RTM_NEWADDR {
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	if err := unix.Sendto(fd, netlinkMessage(kind, flags, 1, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:n]
	m := message{}
	if !m.next(&b) || m.kind != unix.NLMSG_ERROR || m.failure() != nil {
		t.Fatalf("message of kind %d: answered by kind %d, %v", kind, m.kind, m.failure())
	}
}

// loopbackNumber is the number of lo in a new namespace.
const loopbackNumber = 1

// setLoopback makes lo up or down.
func setLoopback(t *testing.T, up bool) {
	t.Helper()
	flags := uint32(0)
	if up {
		flags = unix.IFF_UP
	}
	// struct ifinfomsg: family, type, interface, flags, which of them change.
	change(t, unix.RTM_NEWLINK, make([]byte, 4), native(loopbackNumber), native(flags), native(unix.IFF_UP))
}

// arrived returns what may have changed by the notifications in the queue. There
// must be one.
func arrived(t *testing.T, n *Conn) Changes {
	t.Helper()
	if err := n.file.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	changed, err := n.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := n.read()
		if err == unix.EAGAIN {
			return changed
		}
		if err != nil {
			t.Fatal(err)
		}
		for m := (message{}); m.next(&b); {
			changed |= m.changes()
		}
	}
}

// TestNotifications checks that each change of the network is noticed, in both
// families, and that the kernel then lists it.
func TestNotifications(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		n, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		ip4, ip6 := []byte{192, 0, 2, 1}, []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
		address := func(family byte, ip []byte) [][]byte {
			return [][]byte{addressHead(family, unix.IFA_F_NODAD, 0, loopbackNumber), netlinkAttribute(unix.IFA_LOCAL, ip), netlinkAttribute(unix.IFA_ADDRESS, ip)}
		}
		route := func(family byte) [][]byte {
			return [][]byte{routeHead(family, 0, unix.RT_TABLE_MAIN, unix.RTN_UNICAST), netlinkAttribute(unix.RTA_OIF, native(loopbackNumber))}
		}
		listed := func() (all []string) {
			for _, v6 := range []bool{false, true} {
				if err := n.DefaultRoutes(v6, func(index, _ uint32, _ []byte) {
					if index == loopbackNumber {
						all = append(all, ipaddr.FamilyName(v6)+" route")
					}
				}); err != nil {
					t.Error(err)
				}
				if err := n.Addresses(v6, loopbackNumber, func(ip []byte) { all = append(all, ipaddr.Addr{IP: string(ip)}.String()) }); err != nil {
					t.Error(err)
				}
			}
			return all
		}
		for _, c := range []struct {
			name   string
			kind   uint16
			body   [][]byte
			want   Changes
			listed []string
		}{
			{"IPv4 address", unix.RTM_NEWADDR, address(unix.AF_INET, ip4), AddressesChanged, []string{"192.0.2.1"}},
			{"IPv6 address", unix.RTM_NEWADDR, address(unix.AF_INET6, ip6), AddressesChanged, []string{"192.0.2.1", "2001:db8::1"}},
			{"IPv4 route", unix.RTM_NEWROUTE, route(unix.AF_INET), RoutesChanged, []string{"IPv4 route", "192.0.2.1", "2001:db8::1"}},
			{"IPv6 route", unix.RTM_NEWROUTE, route(unix.AF_INET6), RoutesChanged, []string{"IPv4 route", "192.0.2.1", "IPv6 route", "2001:db8::1"}},
			{"IPv4 route gone", unix.RTM_DELROUTE, route(unix.AF_INET), RoutesChanged, []string{"192.0.2.1", "IPv6 route", "2001:db8::1"}},
			{"IPv6 address gone", unix.RTM_DELADDR, address(unix.AF_INET6, ip6), AddressesChanged, []string{"192.0.2.1", "IPv6 route"}},
		} {
			if c.name == "IPv4 address" {
				setLoopback(t, true)
				if got := arrived(t, n); got&LinksChanged == 0 {
					t.Errorf("lo is up: changed %b, want %b in it", got, LinksChanged)
				}
			}
			change(t, c.kind, c.body...)
			if got := arrived(t, n); got != c.want {
				t.Errorf("%s: changed %b, want %b", c.name, got, c.want)
			}
			if got := listed(); !slices.Equal(got, c.listed) {
				t.Errorf("%s: listed %q, want %q", c.name, got, c.listed)
			}
		}
	})
}

// TestLostNotifications checks that anything may have changed if the kernel had
// no room for a notification.
func TestLostNotifications(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		n, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if err := unix.SetsockoptInt(n.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			setLoopback(t, i%2 == 0)
		}
		if got := arrived(t, n); got != allChanged {
			t.Errorf("changed %b, want %b", got, allChanged)
		}
	})
}
