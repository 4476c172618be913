//go:build linux && !portable

package procfs

import (
	"strings"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"golang.org/x/sys/unix"
)

// Stats has the files of /proc, which stay open and are read again each time.
type Stats struct {
	statm       int // file descriptor; -1: not available
	snmp, snmp6 int
	overflows   [2]uint64 // full receive buffers, by family, at the last call
}

// Open opens the files. buf is scratch memory.
func Open(buf []byte) *Stats {
	open := func(path string) int {
		f, err := sys.Open(path)
		if err != nil {
			return -1
		}
		return int(f)
	}
	k := &Stats{statm: open("/proc/self/statm"), snmp: open("/proc/self/net/snmp"), snmp6: open("/proc/self/net/snmp6")}
	k.Overflowed(false, buf)
	k.Overflowed(true, buf)
	return k
}

func (k *Stats) Close() {
	for _, fd := range [...]int{k.statm, k.snmp, k.snmp6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// readAgain returns the beginning of an open file. The text is in buf and is
// valid until buf is used again.
func readAgain(fd int, buf []byte) string {
	for fd >= 0 {
		n, err := unix.Pread(fd, buf, 0)
		if err == nil {
			return unsafe.String(unsafe.SliceData(buf), n)
		}
		if err != unix.EINTR {
			break
		}
	}
	return ""
}

// Resident returns the resident memory of the process in bytes, or 0 if it is
// unknown. buf is scratch memory.
func (k *Stats) Resident(buf []byte) int {
	_, rest, _ := strings.Cut(readAgain(k.statm, buf), " ") // size, resident
	return int(leadingNumber(rest)) * sys.PageSize
}

// Overflowed returns how many datagrams were dropped since the last call
// because a receive buffer was full. The kernel counts them for all programs of
// the network namespace. ok is false if the count is unknown, for example in a
// jail without /proc. buf is scratch memory.
func (k *Stats) Overflowed(v6 bool, buf []byte) (n uint64, ok bool) {
	last, known := &k.overflows[0], k.snmp >= 0
	if v6 {
		last, known = &k.overflows[1], k.snmp6 >= 0
		n = overflows6(readAgain(k.snmp6, buf))
	} else {
		n = overflows4(readAgain(k.snmp, buf))
	}
	since := n - *last
	*last = n
	return since, known
}

// overflows4 returns the sum of RcvbufErrors and MemErrors in the text of
// /proc/net/snmp. RcvbufErrors counts datagrams for which the queue of a socket
// had no room, MemErrors those for which UDP had no memory left.
func overflows4(text string) (n uint64) {
	// A line with names is followed by a line with their numbers.
	_, text, _ = strings.Cut(text, "\nUdp:")
	names, values, _ := strings.Cut(text, "\nUdp:")
	for names != "" {
		var name string
		_, names, _ = strings.Cut(names, " ")
		_, values, _ = strings.Cut(values, " ")
		name, _, _ = strings.Cut(names, " ")
		if name == "RcvbufErrors" || name == "MemErrors" {
			n += leadingNumber(values)
		}
	}
	return n
}

// overflows6 returns the same sum of /proc/net/snmp6, which has a line for each
// number.
func overflows6(text string) (n uint64) {
	for _, name := range [...]string{"Udp6RcvbufErrors", "Udp6MemErrors"} {
		_, rest, _ := strings.Cut(text, name)
		n += leadingNumber(rest)
	}
	return n
}

// leadingNumber returns the number at the beginning of s, after blanks.
func leadingNumber(s string) (n uint64) {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && '0' <= s[0] && s[0] <= '9' {
		n = n*10 + uint64(s[0]-'0')
		s = s[1:]
	}
	return n
}
