//go:build linux && !portable

package main

import (
	"strings"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"golang.org/x/sys/unix"
)

// This file owns what the kernel counts of this process. Nothing is allocated
// to ask it.

// kernel is where it tells. Files of /proc are kept open and read anew.
type kernel struct {
	statm       int // -1: can't be had
	snmp, snmp6 int
	overflows   [2]uint64 // receive buffers run over, by family, when it was asked last
}

// newKernel makes ready to ask. buf is for its use.
func newKernel(buf []byte) *kernel {
	open := func(path string) int {
		f, err := sys.Open(path)
		if err != nil {
			return -1
		}
		return int(f)
	}
	k := &kernel{statm: open("/proc/self/statm"), snmp: open("/proc/self/net/snmp"), snmp6: open("/proc/self/net/snmp6")}
	k.overflowed(false, buf)
	k.overflowed(true, buf)
	return k
}

func (k *kernel) close() {
	for _, fd := range [...]int{k.statm, k.snmp, k.snmp6} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// readAgain is the beginning of a file that is open. It lies in buf, until that
// is used for something else.
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

// resident is how many bytes of the process are resident, 0 where that is not
// known. buf is for its use.
func (k *kernel) resident(buf []byte) int {
	_, rest, _ := strings.Cut(readAgain(k.statm, buf), " ") // size, resident
	return int(leadingNumber(rest)) * sys.PageSize
}

// overflowed is how often a socket of the family had no room for a datagram
// since it was asked last, of all programs in the network namespace. A jail may
// have no /proc: then it is not known. buf is for its use.
func (k *kernel) overflowed(v6 bool, buf []byte) (n uint64, ok bool) {
	last, known := &k.overflows[0], k.snmp >= 0
	// One is counted when a socket's queue is full, the other when all the
	// memory is taken that UDP may have.
	if v6 {
		last, known = &k.overflows[1], k.snmp6 >= 0
		text := readAgain(k.snmp6, buf)
		for _, name := range [...]string{"Udp6RcvbufErrors", "Udp6MemErrors"} {
			_, rest, _ := strings.Cut(text, name)
			n += leadingNumber(rest)
		}
	} else {
		// A line of names, and one with their numbers.
		_, text, _ := strings.Cut(readAgain(k.snmp, buf), "\nUdp:")
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
	}
	since := n - *last
	*last = n
	return since, known
}

// leadingNumber is the number that s begins with, behind blanks.
func leadingNumber(s string) (n uint64) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			n = n*10 + uint64(c-'0')
		case c != ' ' && c != '\t' || n > 0:
			return n
		}
	}
	return n
}
