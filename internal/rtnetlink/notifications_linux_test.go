//go:build linux && !portable

package rtnetlink

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/rtnetlink/rtnetlinktest"
	"golang.org/x/sys/unix"
)

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
	const lo = rtnetlinktest.Loopback
	rtnetlinktest.InNamespace(t, func() {
		n, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		rtnetlinktest.SetUp(t, lo, true)
		if got := arrived(t, n); got&LinksChanged == 0 {
			t.Errorf("lo is up: changed %b, want %b in it", got, LinksChanged)
		}
		for _, c := range []struct {
			name   string
			change func()
			want   Changes
			listed []string
		}{
			{name: "IPv4 address", change: func() { rtnetlinktest.SetAddress(t, lo, "192.0.2.1/24", true) }, want: AddressesChanged, listed: []string{"192.0.2.1"}},
			{name: "IPv6 address", change: func() { rtnetlinktest.SetAddress(t, lo, "2001:db8::1/64", true) }, want: AddressesChanged, listed: []string{"192.0.2.1", "2001:db8::1"}},
			{name: "IPv4 route", change: func() { rtnetlinktest.SetRoute(t, lo, false, 5, "", true) }, want: RoutesChanged,
				listed: []string{"IPv4 route at 5 via ", "192.0.2.1", "2001:db8::1"}},
			{name: "IPv6 route", change: func() { rtnetlinktest.SetRoute(t, lo, true, 7, "", true) }, want: RoutesChanged,
				listed: []string{"IPv4 route at 5 via ", "192.0.2.1", "IPv6 route at 7 via ", "2001:db8::1"}},
			{name: "IPv4 route gone", change: func() { rtnetlinktest.SetRoute(t, lo, false, 5, "", false) }, want: RoutesChanged,
				listed: []string{"192.0.2.1", "IPv6 route at 7 via ", "2001:db8::1"}},
			{name: "IPv6 address gone", change: func() { rtnetlinktest.SetAddress(t, lo, "2001:db8::1/64", false) }, want: AddressesChanged,
				listed: []string{"192.0.2.1", "IPv6 route at 7 via "}},
		} {
			c.change()
			if got := arrived(t, n); got != c.want {
				t.Errorf("%s: changed %b, want %b", c.name, got, c.want)
			}
			var listed []string
			for _, v6 := range []bool{false, true} {
				if err := n.DefaultRoutes(v6, func(index, metric uint32, gateway []byte) {
					if index != lo {
						t.Errorf("%s: got a route by interface %d", c.name, index)
					}
					listed = append(listed, fmt.Sprintf("%s route at %d via %s", ipaddr.FamilyName(v6), metric, gateway))
				}); err != nil {
					t.Error(err)
				}
				if err := n.Addresses(v6, lo, func(ip []byte) { listed = append(listed, ipaddr.Addr{IP: string(ip)}.String()) }); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(listed, c.listed) {
				t.Errorf("%s: listed %q, want %q", c.name, listed, c.listed)
			}
		}
	})
}

// TestLostNotifications checks that anything may have changed if the kernel had
// no room for a notification.
func TestLostNotifications(t *testing.T) {
	rtnetlinktest.InNamespace(t, func() {
		n, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		if err := unix.SetsockoptInt(n.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			rtnetlinktest.SetUp(t, rtnetlinktest.Loopback, i%2 == 0)
		}
		if got := arrived(t, n); got != allChanged {
			t.Errorf("changed %b, want %b", got, allChanged)
		}
	})
}
