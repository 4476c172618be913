package ipaddr

import (
	"net/netip"
	"strings"
	"testing"
)

// asNetip is the same address as the standard library has it.
func asNetip(t *testing.T, a Addr) netip.Addr {
	t.Helper()
	n, ok := netip.AddrFromSlice([]byte(a.IP))
	if !ok {
		t.Fatalf("%q is no ipAddr", a.IP)
	}
	return n.WithZone(a.Zone)
}

// checkLiteral: net/netip takes s for the same address, or refuses it too, and
// writes it and tells about it alike.
func checkLiteral(t *testing.T, s string) {
	t.Helper()
	want, err := netip.ParseAddr(s)
	got, ok := Parse(s)
	if ok != (err == nil) {
		t.Fatalf("%q: %v, %v; netip: %v, %v", s, got, ok, want, err)
	}
	if !ok {
		return
	}
	if n := asNetip(t, got); n != want {
		t.Fatalf("%q is %v, want %v", s, n, want)
	}
	if got.String() != want.String() {
		t.Fatalf("%q is written %s, want %s", s, got, want)
	}
	if got.Is6() != want.Is6() || got.IsUnspecified() != want.WithZone("").IsUnspecified() || got.IsMapped() != want.Is4In6() || got.Zone != want.Zone() {
		t.Fatalf("%q: is6 %v, isUnspecified %v, isMapped %v, zone %q", s, got.Is6(), got.IsUnspecified(), got.IsMapped(), got.Zone)
	}
	if u := asNetip(t, got.Unmap()); u != want.Unmap() {
		t.Fatalf("%q without its mapping is %v, want %v", s, u, want.Unmap())
	}
	if e := (Endpoint{got, 6881}).String(); e != netip.AddrPortFrom(want, 6881).String() {
		t.Fatalf("%q with a port is %s", s, e)
	}
	if again, ok := Parse(got.String()); !ok || again != got {
		t.Fatalf("%q, written and read again, is %v", s, again)
	}
}

var literals = []string{
	"0.0.0.0", "127.0.0.1", "255.255.255.255", "1.2.3.4", "192.0.2.10",
	"", ".", "1", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.256", "1.2.3.04", "1.2.3.00", "1.2.3.-4", "1.2.3.+4",
	"1.2.3.4 ", " 1.2.3.4", "1.2.3.4%eth0", "1.2.3.4%a:b", "0x1.2.3.4", "1_0.2.3.4", "1.2.3.1000",
	"::", "::1", "1::", "2001:db8::1", "2001:DB8::A", "fe80::1%eth0", "fe80::1%2", "fe80::1%a%b", "fe80::1%a:b", "::%lo",
	"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3::5:6:7:8", "0:0:1:0:0:0:1:0", "1:0:0:2:0:0:3:4",
	"1:0:2:0:3:0:4:0", "0:0:0:0:0:0:0:0", "0001:0000::00ff", "::ffff:1.2.3.4", "::FFFF:102:304", "::ffff:0.0.0.0", "::ffff:1.2.3.4%eth0",
	"::1.2.3.4", "64:ff9b::192.0.2.33", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5::1.2.3.4", "1.2.3.4::", "1.2.3.4:1::",
	":", ":::", "::::", "1", "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
	"1:2:3:4::5:6:7:8", "1::2::3", "12345::", "00001::", "g::", "::g", "+1::", "1_2::", "::1.2.3", "::1.2.3.4.5", "::1.2.3.4:5",
	"fe80::1%", "%eth0", "%", "[::1]", "::1 ", "1:2:3:4:5:6:7:", "localhost", "::1/64",
}

func TestAddressLiterals(t *testing.T) {
	for _, s := range literals {
		checkLiteral(t, s)
	}
}

func TestAddressNone(t *testing.T) {
	if s := (Addr{}).String(); s != "" {
		t.Errorf("no ipAddr is written %q", s)
	}
}

// FuzzAddress compares what is made of any text with net/netip, and so with
// any 16 bytes.
func FuzzAddress(f *testing.F) {
	for _, s := range literals {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkLiteral(t, s)
		if len(s) >= 16 {
			checkLiteral(t, asNetip(t, Addr{IP: s[:16]}).String())
		}
	})
}

// TestIsLinkLocal6 checks that fe80::/10 is link-local, and nothing else.
func TestIsLinkLocal6(t *testing.T) {
	for ip, want := range map[string]bool{
		"\xfe\x80": true, "\xfe\xbf": true, "\xfe\x7f": false, "\xfe\xc0": false, "\xff\x80": false, "\xfd\x80": false, "\x00\x80": false,
	} {
		if got := (Addr{IP: ip + strings.Repeat("\x01", 14)}).IsLinkLocal6(); got != want {
			t.Errorf("%x: got %v, want %v", ip, got, want)
		}
		if (Addr{IP: ip + "\x01\x01"}).IsLinkLocal6() {
			t.Errorf("the IPv4 address %x0101: got true, want false", ip)
		}
	}
	if (Addr{}).IsLinkLocal6() {
		t.Error("no address: got true, want false")
	}
}
