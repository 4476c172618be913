//go:build linux && !portable

package udp

import (
	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"golang.org/x/sys/unix"
)

// requestFilter makes the kernel drop datagrams that cannot be requests, before
// they are queued. Offsets count from the UDP header. The filter does not judge
// connection IDs and lengths beyond the shortest request, because those have
// answers.
var requestFilter = newRequestFilter()

func newRequestFilter() unix.SockFprog {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		length  = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K

		header      = 8 // bytes of a UDP header
		maxDatagram = 1 << 16
	)
	// Jumps count from the instruction after; 12 accepts, 13 drops.
	prog := []unix.SockFilter{
		0:  {Code: length},
		1:  {Code: atLeast, Jf: 11, K: header + bep15.HeaderSize},
		2:  {Code: load, K: header}, // the first half of the ID
		3:  {Code: atLeast, Jf: 9, K: bep15.ActionError + 1},
		4:  {Code: load, K: header + 8}, // action
		5:  {Code: equal, Jt: 6, K: bep15.ActionAnnounce},
		6:  {Code: equal, Jt: 5, K: bep15.ActionScrape},
		7:  {Code: equal, Jf: 5, K: bep15.ActionConnect},
		8:  {Code: load, K: header},
		9:  {Code: equal, Jf: 3, K: bep15.ProtocolID >> 32},
		10: {Code: load, K: header + 4},
		11: {Code: equal, Jf: 1, K: bep15.ProtocolID & 0xffffffff},
		12: {Code: ret, K: maxDatagram},
		13: {Code: ret, K: 0},
	}
	return unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
}
