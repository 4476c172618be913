package main

// This file owns the scopes of addresses: how far each can be reached, and the
// form in which a peer's address is kept.
//
// An address on a link means another host on another link. Peers of a link are
// kept with the link's number, where such an address has nothing but zeros
// (fe80::/64), or in place of what all have in common (169.254): there the
// number stands in 224/3, from which no packet comes.

// scope is how far an address can be reached, the narrowest first.
type scope uint8

const (
	scopeLink    scope = iota // from one link: 169.254/16, fe80::/10
	scopeHost                 // from this host: 127/8, ::1
	scopePrivate              // from the same network: RFC 1918, RFC 6598, ULA
	scopeGlobal               // from everywhere; documentation prefixes pass for it
	numScopes
)

// range4 is what an IPv4 address's second byte must be, under mask, for the
// address to be of that scope. Else it is global.
type range4 struct {
	mask, second byte
	scope        scope
}

// ranges4 is by the first byte.
var ranges4 = func() (t [256]range4) {
	for i := range t {
		t[i].scope = scopeGlobal
		if i >= 224 { // as a link's peers are kept
			t[i].scope = scopeLink
		}
	}
	t[127].scope = scopeHost
	t[169] = range4{0xff, 254, scopeLink}
	t[10].scope = scopePrivate
	t[100] = range4{0xc0, 64, scopePrivate}
	t[172] = range4{0xf0, 16, scopePrivate}
	t[192] = range4{0xff, 168, scopePrivate}
	return t
}()

// scope4 is the scope of an IPv4 address, as it comes or as it is kept.
func scope4(a *[6]byte) scope {
	if r := &ranges4[a[0]]; a[1]&r.mask == r.second {
		return r.scope
	}
	return scopeGlobal
}

// scope6 is scope4 for IPv6.
func scope6(a *[18]byte) scope {
	switch {
	case a[0]&0xe0 == 0x20:
		return scopeGlobal
	case a[0] == 0xfe && a[1]&0xc0 == 0x80:
		return scopeLink
	case a[0]&0xfe == 0xfc, a[0] == 0xfe && a[1]&0xc0 == 0xc0: // also site-local, of old
		return scopePrivate
	case a[0] == 0 && [15]byte(a[1:16]) == [15]byte{14: 1}:
		return scopeHost
	}
	return scopeGlobal
}

// isMartian4 says whether no host can have this address: 0/8, multicast, what is
// reserved, broadcast.
func isMartian4(a *[6]byte) bool { return a[0] == 0 || a[0] >= 224 }

// isMartian6 is nobody4 for IPv6: multicast, ::, and IPv4 addresses in one of
// their two disguises (::/96, ::ffff:0:0/96), which no packet should have.
func isMartian6(a *[18]byte) bool {
	if a[0] == 0xff {
		return true
	}
	if a[0] != 0 || [10]byte(a[:10]) != [10]byte{} {
		return false
	}
	mark := [2]byte(a[10:12])
	return mark == [2]byte{0xff, 0xff} || mark == [2]byte{} && scope6(a) != scopeHost
}

// isGlobal says whether hosts everywhere can reach an address of 4 or 16 bytes.
func isGlobal(ip string) bool {
	if len(ip) == 4 {
		a := [6]byte([]byte(ip + "\x00\x00"))
		return !isMartian4(&a) && scope4(&a) == scopeGlobal
	}
	a := [18]byte([]byte(ip + "\x00\x00"))
	return !isMartian6(&a) && scope6(&a) == scopeGlobal
}

// normalizeSource4 makes of the address that a packet on a link came from the one that
// is kept. It returns false where no host can have it, and where the link's
// number is too large to be kept.
func normalizeSource4(a *[6]byte, link uint32) bool {
	if isMartian4(a) {
		return false
	}
	if scope4(a) == scopeLink {
		a[0], a[1] = 0xe0|byte(link>>8), byte(link)
		return link < 1<<13
	}
	return true
}

// normalizeSource6 is settled4 for IPv6.
func normalizeSource6(a *[18]byte, link uint32) bool {
	if isMartian6(a) {
		return false
	}
	if scope6(a) == scopeLink {
		a[4], a[5], a[6], a[7] = byte(link>>24), byte(link>>16), byte(link>>8), byte(link)
	}
	return true
}

// stripLinkID4 and unbind6 make of a link's address that is kept the one that it
// was.
func stripLinkID4(a *[6]byte)  { a[0], a[1] = 169, 254 }
func stripLinkID6(a *[18]byte) { a[4], a[5], a[6], a[7] = 0, 0, 0, 0 }

// externalAddrs is the addresses under which the world knows this network, without
// a port; zeros where there is none.
type externalAddrs struct {
	v4 [6]byte
	v6 [18]byte
}
