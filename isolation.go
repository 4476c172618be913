package main

import "encoding/binary"

// This file has the isolated networks: private networks that do not reach each
// other, for example a guest network or a VPN. It knows nothing of scopes.
//
// A peer in such a network is stored like a link-local peer, with the number of
// its network. The number takes the place of bits that all hosts of the network
// share, so it costs no memory: of the first byte of an IPv4 address, which
// becomes 240 to 247, and of the first seven bits of an IPv6 address, which
// becomes an address of e000::/4. No packet comes from these addresses.

// maxIsolated is how many isolated networks there can be, of each family.
const maxIsolated = 8

// The shortest prefixes leave room for the number.
const (
	minIsolated4 = 8 // bits
	minIsolated6 = 7
)

// isolation is the set of isolated networks.
type isolation struct {
	n4, n6 int // networks
	nets4  [maxIsolated]net4
	nets6  [maxIsolated]net6

	// special4 is true for the first byte of each IPv4 address that
	// normalizeSource can change or refuse.
	special4 [256]bool
}

type net4 struct{ addr, mask uint32 }

type net6 struct{ high, low, highMask, lowMask uint64 }

// newIsolation returns a set without networks.
func newIsolation() *isolation {
	iso := &isolation{}
	for i := range iso.special4 {
		iso.special4[i] = i == 0 || i == 169 || i >= 224
	}
	return iso
}

// add adds a network. It returns false if there is no room. Longer prefixes come
// first, so a network can be in another one.
func (iso *isolation) add(ip string, bits int) bool {
	b := []byte(ip)
	if len(b) == 4 {
		mask := uint32(0xffffffff) << (32 - bits)
		n := net4{binary.BigEndian.Uint32(b) & mask, mask}
		for i := 0; i < iso.n4; i++ {
			if iso.nets4[i] == n {
				return true
			}
		}
		if iso.n4 == maxIsolated {
			return false
		}
		at := iso.n4
		for ; at > 0 && iso.nets4[at-1].mask < mask; at-- {
			iso.nets4[at] = iso.nets4[at-1]
		}
		iso.nets4[at] = n
		iso.n4++
		iso.special4[b[0]] = true
		return true
	}
	n := net6{highMask: ^uint64(0), lowMask: ^uint64(0)}
	if bits <= 64 {
		n.highMask, n.lowMask = n.highMask<<(64-bits), 0
	} else {
		n.lowMask <<= 128 - bits
	}
	n.high, n.low = binary.BigEndian.Uint64(b)&n.highMask, binary.BigEndian.Uint64(b[8:])&n.lowMask
	for i := 0; i < iso.n6; i++ {
		if iso.nets6[i] == n {
			return true
		}
	}
	if iso.n6 == maxIsolated {
		return false
	}
	at := iso.n6
	for ; at > 0 && (iso.nets6[at-1].highMask < n.highMask || iso.nets6[at-1].highMask == n.highMask && iso.nets6[at-1].lowMask < n.lowMask); at-- {
		iso.nets6[at] = iso.nets6[at-1]
	}
	iso.nets6[at] = n
	iso.n6++
	return true
}

// store4 converts an address of an isolated network to its stored form. It
// returns false if the address is in no isolated network.
func (iso *isolation) store4(a *[6]byte) bool {
	x := binary.BigEndian.Uint32(a[:])
	for i := 0; i < iso.n4; i++ {
		if n := &iso.nets4[i]; x&n.mask == n.addr {
			a[0] = isolated4 | byte(i)
			return true
		}
	}
	return false
}

// store6 is store4 for IPv6.
func (iso *isolation) store6(a *[18]byte) bool {
	high, low := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])
	for i := 0; i < iso.n6; i++ {
		if n := &iso.nets6[i]; high&n.highMask == n.high && low&n.lowMask == n.low {
			a[0] = isolated6 | byte(i)<<1 | a[0]&1
			return true
		}
	}
	return false
}

// The first byte of a stored address.
const (
	isolated4 = 0xf0 // the lower three bits are the number
	isolated6 = 0xe0 // the number, and the last bit of the address on the wire
)

// isIsolated4 reports whether a stored address is in an isolated network.
func isIsolated4(a *[6]byte) bool  { return a[0] >= isolated4 }
func isIsolated6(a *[18]byte) bool { return a[0]&0xf0 == isolated6 }

// restore4 converts a stored address in an isolated network back to the address
// on the wire.
func (iso *isolation) restore4(a *[6]byte) { a[0] = byte(iso.nets4[a[0]&7].addr >> 24) }

func (iso *isolation) restore6(a *[18]byte) {
	a[0] = byte(iso.nets6[a[0]>>1&7].high>>56)&^1 | a[0]&1
}
