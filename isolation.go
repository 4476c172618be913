package main

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

// isolation is the set of isolated networks of IPv4 and of IPv6.
type isolation struct {
	n    [2]int
	nets [2][maxIsolated]isolatedNet // longer prefixes first

	// special4 is true for the first byte of each IPv4 address that
	// normalizeSource can change or refuse.
	special4 [256]bool
}

// isolatedNet is a prefix. Of IPv4, the first four bytes are used.
type isolatedNet struct {
	addr, mask [16]byte
	bits       int
}

func (n *isolatedNet) contains(ip []byte) bool {
	for i, b := range ip {
		if b&n.mask[i] != n.addr[i] {
			return false
		}
	}
	return true
}

// newIsolation returns a set without networks.
func newIsolation() *isolation {
	iso := &isolation{}
	for i := range iso.special4 {
		iso.special4[i] = i == 0 || i == 169 || i >= 224
	}
	return iso
}

// familyIndex returns 0 for an IPv4 address and 1 for an IPv6 address.
func familyIndex(length int) int { return length >> 4 }

// add adds a network. It returns false if there is no room. A network can be in
// another one: longer prefixes come first.
func (iso *isolation) add(ip string, bits int) bool {
	n := isolatedNet{bits: bits}
	for i := range n.mask[:len(ip)] {
		n.mask[i] = byte(uint(0xff00) >> min(max(bits-8*i, 0), 8))
		n.addr[i] = ip[i] & n.mask[i]
	}
	f := familyIndex(len(ip))
	nets, count := &iso.nets[f], iso.n[f]
	for i := range nets[:count] {
		if nets[i] == n {
			return true
		}
	}
	if count == maxIsolated {
		return false
	}
	for ; count > 0 && nets[count-1].bits < bits; count-- {
		nets[count] = nets[count-1]
	}
	nets[count] = n
	iso.n[f]++
	if f == 0 {
		iso.special4[ip[0]] = true
	}
	return true
}

// find returns the number of the network of an address.
func (iso *isolation) find(ip []byte) (i int, ok bool) {
	f := familyIndex(len(ip))
	for i = range iso.n[f] {
		if iso.nets[f][i].contains(ip) {
			return i, true
		}
	}
	return 0, false
}

// store4 converts an address of an isolated network to its stored form. It
// returns false if the address is in no isolated network.
func (iso *isolation) store4(a *[6]byte) bool {
	i, ok := iso.find(a[:4])
	if ok {
		a[0] = isolated4 | byte(i)
	}
	return ok
}

// store6 is store4 for IPv6.
func (iso *isolation) store6(a *[18]byte) bool {
	i, ok := iso.find(a[:16])
	if ok {
		a[0] = isolated6 | byte(i)<<1 | a[0]&1
	}
	return ok
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
func (iso *isolation) restore4(a *[6]byte) { a[0] = iso.nets[0][a[0]&7].addr[0] }

// restore6 is restore4 for IPv6.
func (iso *isolation) restore6(a *[18]byte) { a[0] = iso.nets[1][a[0]>>1&7].addr[0]&^1 | a[0]&1 }
