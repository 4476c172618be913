//go:build linux && !portable

package procfs

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"golang.org/x/sys/unix"
)

// deadline is how long a test waits for something that must come at once.
const deadline = 20 * time.Second

// snmp is the text of /proc/net/snmp with these numbers in the line of UDP.
func snmp(values string) string {
	return "Ip: Forwarding DefaultTTL\nIp: 1 64\n" +
		"Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\nUdp: " + values + "\n" +
		"UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\nUdpLite: 1 1 1 1 1 1 1 1 1\n"
}

// TestOverflows reads texts as the kernel writes them.
func TestOverflows(t *testing.T) {
	for _, c := range []struct {
		name  string
		count func(text string) uint64
		text  string
		want  uint64
	}{
		{name: "IPv4, none", count: overflows4, text: snmp("9 8 7 6 0 0 0 0 0")},
		{name: "IPv4, the buffer", count: overflows4, text: snmp("9 8 7 6 5 0 0 0 0"), want: 5},
		{name: "IPv4, the memory", count: overflows4, text: snmp("9 8 7 6 0 0 0 0 4"), want: 4},
		{name: "IPv4, both", count: overflows4, text: snmp("9 8 7 6 12345678901 0 0 0 4"), want: 12345678905},
		{name: "IPv4, other errors", count: overflows4, text: snmp("9 8 7 6 0 33 22 11 0")},
		{name: "IPv4, before Linux 5.11", count: overflows4,
			text: "Udp: InDatagrams\nIp: x\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 1 2 3 4 5 6\n", want: 5},
		{name: "IPv4, empty", count: overflows4},
		{name: "IPv4, cut", count: overflows4, text: snmp("9 8 7 6 5")[:100]},
		{name: "IPv6, none", count: overflows6, text: "Udp6InErrors \t7\nUdp6RcvbufErrors                \t0\nUdp6SndbufErrors \t3\n"},
		{name: "IPv6, both", count: overflows6, text: "Udp6RcvbufErrors                \t10\nUdp6InCsumErrors \t7\nUdp6MemErrors \t2\nUdpLite6RcvbufErrors \t9\n", want: 12},
		{name: "IPv6, empty", count: overflows6},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.count(c.text); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestLeadingNumber(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, " ": 0, "0": 0, "0 5": 0, "7": 7, " \t42\n": 42, "1 2": 1, "x1": 0, "-1": 0, "18446744073709551615": 1<<64 - 1,
	} {
		if got := leadingNumber(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// TestOwnProcess reads the real files: memory that is touched is counted, and
// nothing is allocated.
func TestOwnProcess(t *testing.T) {
	buf := make([]byte, 8<<10)
	k := Open(buf)
	defer k.Close()
	const size = 32 << 20
	before := k.Resident(buf)
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += sys.PageSize {
		mem[i] = 1
	}
	during := k.Resident(buf)
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	after := k.Resident(buf)
	if before < 1<<20 || during < before+size/2 || after > during-size/2 {
		t.Errorf("got %d, %d and %d resident bytes, want %d more in the middle", before, during, after, size)
	}
	if got := testing.AllocsPerRun(100, func() { k.Resident(buf); k.Overflowed(false, buf); k.Overflowed(true, buf) }); got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

// TestOverflowed fills the receive buffer of a socket that nobody reads.
func TestOverflowed(t *testing.T) {
	if _, err := os.Stat("/proc/self/net/snmp"); err != nil {
		t.Skip(err)
	}
	buf := make([]byte, 8<<10)
	for _, c := range []struct {
		name, address string
		v6            bool
	}{
		{name: "IPv4", address: "127.0.0.1:0"},
		{name: "IPv6", address: "[::1]:0", v6: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := Open(buf)
			defer k.Close()
			full, err := net.ListenPacket("udp", c.address)
			if err != nil {
				t.Skip(err) // the machine lacks the family
			}
			defer full.Close()
			if err := full.(*net.UDPConn).SetReadBuffer(1); err != nil { // the kernel makes more of it
				t.Fatal(err)
			}
			conn, err := net.Dial("udp", full.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for range 1000 {
				if _, err := conn.Write(make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			// A busy kernel counts them later.
			sum := uint64(0)
			for end := time.Now().Add(deadline); sum < 900; {
				n, ok := k.Overflowed(c.v6, buf)
				if sum += n; !ok || time.Now().After(end) {
					t.Fatalf("got %d overflows, %v, want about 1000", sum, ok)
				}
			}
			// Another program may cause new ones.
			for end := time.Now().Add(deadline); ; {
				n, ok := k.Overflowed(c.v6, buf)
				if ok && n < 500 {
					break
				}
				if !ok || time.Now().After(end) {
					t.Fatalf("the next call: got %d overflows, %v, want only new ones", n, ok)
				}
			}
		})
	}
}

// TestClose checks that no file stays open.
func TestClose(t *testing.T) {
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := descriptors()
	for range 20 {
		Open(make([]byte, 8<<10)).Close()
	}
	if after := descriptors(); after > before+10 { // the runtime may open some
		t.Errorf("%d files are open, want %d", after, before)
	}
}

// TestWithoutProc checks what is said of files that could not be opened.
func TestWithoutProc(t *testing.T) {
	k := &Stats{statm: -1, snmp: -1, snmp6: -1}
	buf := make([]byte, 100)
	if got := k.Resident(buf); got != 0 {
		t.Errorf("got %d resident bytes, want 0", got)
	}
	for _, v6 := range []bool{false, true} {
		if n, ok := k.Overflowed(v6, buf); n != 0 || ok {
			t.Errorf("IPv6 %v: got %d, %v, want 0, false", v6, n, ok)
		}
	}
	k.Close()
}
