package main

// This file has the scopes of addresses: from where each address can be reached.
//
// A link-local address means another host on another link. So it is stored with
// the number of its link (the interface index). In fe80::/64 the number takes
// the place of zero bytes. In 169.254.0.0/16 it takes the place of the first two
// bytes, as an address of 224.0.0.0/4: no packet comes from there. An isolated
// network is a link, too (see isolation.go).
//
// There can't be a fifth scope without a change of the layout: peerData has two
// bits for the scope of a set, scopeIndex needs a power of two below 8 for each
// scope, and mixed uses the value of scopeLink.

// scope is from where an address can be reached, the narrowest first.
type scope uint8

const (
	scopeLink    scope = iota // from the same link, 169.254/16, fe80::/10, or the same isolated network
	scopeHost                 // from this host: 127/8, ::1
	scopePrivate              // from the same network: RFC 1918, RFC 6598, ULA
	scopeGlobal               // from everywhere; documentation prefixes count as global
	numScopes
)

// range4 gives the scope of the IPv4 addresses with one first byte. The second
// byte must be second under mask; if not, the address is global.
type range4 struct {
	mask, second byte
	scope        scope
}

// ranges4 is indexed by the first byte of an address.
var ranges4 = func() (t [256]range4) {
	for i := range t {
		t[i].scope = scopeGlobal
		if i >= 224 { // stored addresses of links and isolated networks
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

// scope4 returns the scope of an IPv4 address, as received or as stored.
func scope4(a *[6]byte) scope {
	if r := &ranges4[a[0]]; a[1]&r.mask == r.second {
		return r.scope
	}
	return scopeGlobal
}

// scope6 returns the scope of an IPv6 address, as received or as stored.
func scope6(a *[18]byte) scope {
	switch {
	case a[0]&0xe0 == 0x20:
		return scopeGlobal
	case a[0] == 0xfe && a[1]&0xc0 == 0x80, isIsolated6(a):
		return scopeLink
	case a[0]&0xfe == 0xfc, a[0] == 0xfe && a[1]&0xc0 == 0xc0: // ULA, and site-local, which is deprecated
		return scopePrivate
	case a[0] == 0 && [15]byte(a[1:16]) == [15]byte{14: 1}:
		return scopeHost
	}
	return scopeGlobal
}

// isMartian4 reports whether no host can have this address: 0/8, multicast,
// reserved, broadcast.
func isMartian4(a *[6]byte) bool { return a[0] == 0 || a[0] >= 224 }

// isMartian6 reports whether no host can have this address: multicast, the
// unspecified address, IPv4 addresses written as IPv6 (::/96, ::ffff:0:0/96),
// which must not appear in a packet, and e000::/4, which is not assigned.
func isMartian6(a *[18]byte) bool {
	if a[0] == 0xff || isIsolated6(a) {
		return true
	}
	if a[0] != 0 || [10]byte(a[:10]) != [10]byte{} {
		return false
	}
	mark := [2]byte(a[10:12])
	return mark == [2]byte{0xff, 0xff} || mark == [2]byte{} && scope6(a) != scopeHost
}

// isGlobal reports whether every host can reach an address of 4 or 16 bytes.
func isGlobal(ip string) bool {
	if len(ip) == 4 {
		a := [6]byte([]byte(ip + "\x00\x00"))
		return !isMartian4(&a) && scope4(&a) == scopeGlobal
	}
	a := [18]byte([]byte(ip + "\x00\x00"))
	return !isMartian6(&a) && scope6(&a) == scopeGlobal
}

// normalizeSource4 converts a source address to its stored form and reports
// whether it is a valid host address. link is the number of the link that the
// packet came by. A number that is too large to be stored makes the address
// invalid.
func normalizeSource4(a *[6]byte, link uint32, iso *isolation) bool {
	if isMartian4(a) {
		return false
	}
	if iso.store4(a) {
		return true
	}
	if scope4(a) == scopeLink {
		a[0], a[1] = 0xe0|byte(link>>8), byte(link)
		return link < 1<<12
	}
	return true
}

// normalizeSource6 is normalizeSource4 for IPv6.
func normalizeSource6(a *[18]byte, link uint32, iso *isolation) bool {
	if isMartian6(a) {
		return false
	}
	if iso.store6(a) {
		return true
	}
	if scope6(a) == scopeLink {
		a[4], a[5], a[6], a[7] = byte(link>>24), byte(link>>16), byte(link>>8), byte(link)
	}
	return true
}

// stripLinkID4 converts a stored address of a link or an isolated network back to
// the address on the wire.
func stripLinkID4(a *[6]byte, iso *isolation) {
	if isIsolated4(a) {
		iso.restore4(a)
		return
	}
	a[0], a[1] = 169, 254
}

// stripLinkID6 is stripLinkID4 for IPv6.
func stripLinkID6(a *[18]byte, iso *isolation) {
	if isIsolated6(a) {
		iso.restore6(a)
		return
	}
	a[4], a[5], a[6], a[7] = 0, 0, 0, 0
}

// externalAddrs are the public addresses of this network, without a port. They
// are zero if there is none.
type externalAddrs struct {
	v4      [6]byte
	v6      [18]byte
	gateway [6]byte // the router in front of this machine, if it has a private address
}
