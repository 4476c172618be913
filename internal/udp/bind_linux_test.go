//go:build linux && !portable

package udp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestFreebound checks that a socket is bound to an address that no interface has.
func TestFreebound(t *testing.T) {
	for ip, want := range map[string]bool{"127.0.0.1": false, "0.0.0.0": false, "::1": false, "192.0.2.1": true, "2001:db8::1": true} {
		s, _ := testSocket(t, ip, 1)
		if got := s.Freebound(); got != want {
			t.Errorf("%s: got %v, want %v", ip, got, want)
		}
	}
}

// TestReceiveBuffer checks that the buffer holds a burst, or what the system allows.
func TestReceiveBuffer(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Fatal(err)
	}
	var most int
	if _, err := fmt.Sscan(string(text), &most); err != nil {
		t.Fatal(err)
	}
	s, _ := testSocket(t, "127.0.0.1", 1)
	if got, want := s.ReceiveBuffer(), min(most, receiveBuffer); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

// TestPathOptions checks that replies may be fragmented, and that no message about
// the path counts.
func TestPathOptions(t *testing.T) {
	for _, c := range []struct {
		ip                  string
		level, option, want int
	}{
		{ip: "127.0.0.1", level: unix.IPPROTO_IP, option: unix.IP_MTU_DISCOVER, want: unix.IP_PMTUDISC_OMIT},
		{ip: "::1", level: unix.IPPROTO_IPV6, option: unix.IPV6_MTU_DISCOVER, want: unix.IPV6_PMTUDISC_PROBE},
	} {
		s, _ := testSocket(t, c.ip, 1)
		if got, err := unix.GetsockoptInt(s.kernel.fd, c.level, c.option); got != c.want || err != nil {
			t.Errorf("%s: got %d, %v, want %d", c.ip, got, err, c.want)
		}
	}
}

// TestUnknownDrops checks that Drops says so if the kernel does not count, and only
// then.
func TestUnknownDrops(t *testing.T) {
	s, _ := testSocket(t, "127.0.0.1", 1)
	info := make([]byte, 100)
	size := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.kernel.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	const words = 9 // before Linux 4.12 there were fewer
	if _, ok := s.Drops(); ok != (errno == 0 && size >= 4*words) {
		t.Errorf("got %v; the kernel says %v, %d bytes", ok, errno, size)
	}
	if _, ok := (&kernelSocket{fd: -1}).countDrops(); ok {
		t.Error("closed: the kernel counts")
	}
}

// TestHint checks the hints for users.
func TestHint(t *testing.T) {
	for err, want := range map[error]string{
		unix.EADDRINUSE:                    "another tracker",
		unix.EACCES:                        "need root",
		unix.EPERM:                         "need root",
		unix.EADDRNOTAVAIL:                 "no interface has this address",
		fmt.Errorf("x: %w", unix.EACCES):   "need root",
		unix.ENOMEM:                        "",
		errors.New("permission denied"):    "",
		fmt.Errorf("x: %w", unix.EMSGSIZE): "",
	} {
		if got := Hint(err); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%v: got %q, want %q in it", err, got, want)
		}
	}
}

// TestNoFamily checks which errors mean that the kernel lacks the address family.
func TestNoFamily(t *testing.T) {
	for err, want := range map[error]bool{
		unix.EAFNOSUPPORT: true, unix.EPROTONOSUPPORT: true, fmt.Errorf("x: %w", unix.EAFNOSUPPORT): true,
		unix.EADDRNOTAVAIL: false, unix.EINVAL: false, nil: false,
	} {
		if got := NoFamily(err); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}

// TestRequestFilter checks that the kernel drops what cannot be a request, and
// nothing else.
func TestRequestFilter(t *testing.T) {
	packet := func(id, action string, more int) []byte {
		return append([]byte(id+action+"abcd"), make([]byte, more)...)
	}
	const protocol, cookie = "\x00\x00\x04\x17\x27\x10\x19\x80", "\x65\x53\xf1\x00\x01\x02\x03\x04"
	const connect, announce, scrape = "\x00\x00\x00\x00", "\x00\x00\x00\x01", "\x00\x00\x00\x02"
	for _, c := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{name: "connect", packet: packet(protocol, connect, 0), want: true},
		{name: "long connect", packet: packet(protocol, connect, 1), want: true},
		{name: "short connect", packet: packet(protocol, connect, 0)[:15]},
		{name: "nothing"},
		{name: "connect with a cookie", packet: packet(cookie, connect, 0)},
		{name: "connect, other low half", packet: packet("\x00\x00\x04\x17\x27\x10\x19\x81", connect, 0)},
		{name: "connect, other high half", packet: packet("\x00\x00\x04\x16\x27\x10\x19\x80", connect, 0)},
		{name: "announce", packet: packet(cookie, announce, 82), want: true},
		{name: "announce, short", packet: packet(cookie, announce, 0), want: true}, // it gets an answer
		{name: "scrape", packet: packet(cookie, scrape, 20), want: true},
		{name: "error", packet: packet(cookie, "\x00\x00\x00\x03", 20)},
		{name: "unknown action", packet: packet(cookie, "\x01\x00\x00\x01", 20)},
		{name: "like a reply", packet: packet("\x00\x00\x00\x03\x00\x00\x00\x00", announce, 82)},
		{name: "least cookie", packet: packet("\x00\x00\x00\x04\x00\x00\x00\x00", announce, 82), want: true},
		{name: "largest cookie", packet: packet("\xff\xff\xff\xff\xff\xff\xff\xff", scrape, 20), want: true},
	} {
		for _, l := range loopbacks {
			s, port := testSocket(t, l.addr, 4)
			client := dialClient(t, l.addr, port)
			client.send(c.packet)
			client.send(numbered(1))
			want := [][]byte{c.packet, numbered(1)}
			if !c.want {
				want = want[1:]
			}
			if got, _ := echo(t, s, len(want)); !bytes.Equal(concat(got...), concat(want...)) {
				t.Errorf("%s, %s: got %x, want %x", c.name, l.addr, got, want)
			}
		}
	}
}
