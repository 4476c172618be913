//go:build linux && !portable

package udp

import (
	"encoding/binary"
	"sync/atomic"
)

// This file chooses the interface that a reply leaves by.

// Uplinks are the interfaces that have a default route of an address family.
type Uplinks [8]atomic.Uint32

func (u *Uplinks) has(index uint32) bool {
	for i := range u {
		switch u[i].Load() {
		case index:
			return true
		case 0:
			return false
		}
	}
	return false
}

// Set replaces the uplinks by the first of the indexes.
func (u *Uplinks) Set(indexes []uint32) {
	for i := range u {
		var index uint32
		if i < len(indexes) {
			index = indexes[i]
		}
		u[i].Store(index)
	}
}

// setReplyPktinfo turns the PKTINFO that came with a request into that of its
// reply. The address stays. The interface stays if the reply must leave by it:
//
//   - A link-local reply stays on its link.
//   - If the request came by an uplink, the reply leaves by it. Another uplink,
//     or a tunnel that has the default route, may lead to a network that drops
//     packets from our address.
//
// Else the routes decide, because the way back may differ from the way here.
// Routes need not lead back by the interface that the request came by, and IPv4
// would then take the client for a neighbour on that link.
func (s *Socket) setReplyPktinfo(sl *slot) {
	// in_pktinfo: interface, then addresses. in6_pktinfo: address, then interface.
	index := sl.control[pktinfoAt : pktinfoAt+4]
	near := sl.name[4] == 169 && sl.name[5] == 254
	if s.V6() {
		index = sl.control[pktinfoAt+16 : pktinfoAt+20]
		near = sl.control[pktinfoAt] == 0xfe && sl.control[pktinfoAt+1]&0xc0 == 0x80
	}
	if !near && !s.uplinks.has(binary.NativeEndian.Uint32(index)) {
		clear(index)
	}
}
