package main

import (
	"crypto/subtle"
	"encoding/binary"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/hmac256"
	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
)

// This file owns connection IDs: [32-bit timestamp][32-bit signature], the
// signature being the start of HMAC-SHA256 over the client's IP and the
// timestamp (BEP 15, "UDP connections / spoofing"). Nothing is stored for a
// client. An ID is bound to the IP and not to the port: libtorrent uses one ID
// for all its sockets, and NATs change ports.

const (
	cookieLife = 120 // seconds; BEP 15
	// cookieSkew is how far ahead another instance's clock may be. An ID
	// from further ahead would outlive its two minutes.
	cookieSkew = 10
)

// deriveKey makes the signing key from the operator's secret, for this use
// alone.
func deriveKey(secret []byte) []byte {
	key := hmac256.New(secret).Sum([]byte("pico-tracker connection ID"))
	return key[:]
}

// timestamp is the time of a batch.
type timestamp struct {
	mono seconds // since the start of the process
	wall uint32  // seconds since 1970, as IDs are dated
}

// cookies signs and checks connection IDs for one worker.
type cookies struct {
	mac interface{ Sum(message []byte) [32]byte }
	in  [20]byte // here, for what is passed to an interface is allocated

	// steady: nobody else knows the key, so IDs need no date that others
	// agree on, and setting the wall clock is nothing to them.
	monotonicDates bool

	// A board without a battery starts in 1970 and jumps when the time
	// arrives. offset is wall minus mono; for the life of an ID after a
	// jump, the one before it dates IDs as well. (Where the clock was set
	// back, what was issued before is timely once more when its date comes
	// again: instances that share a key can't tell it from another's.)
	offset    uint32
	oldOffset uint32
	oldUntil  seconds

	verifiedCache []verified
}

// verified is an ID that was found good, or issued, lately. It stays true for
// ever, so that a client's second packet costs no HMAC.
type verified struct {
	id uint64
	ip [16]byte
}

// newCookies makes a signer that remembers 1<<bits IDs.
func newCookies(key []byte, bits int, now timestamp) *cookies {
	return &cookies{
		mac:           hmac256.New(key),
		offset:        now.wall - uint32(now.mono),
		verifiedCache: make([]verified, 1<<bits),
	}
}

// signature is the signature for an IP address of 4 or 16 bytes, never 0.
func (c *cookies) signature(ip []byte, wall uint32) uint32 {
	n := copy(c.in[:], ip)
	binary.BigEndian.PutUint32(c.in[n:], wall)
	sum := c.mac.Sum(c.in[:n+4])
	s := binary.BigEndian.Uint32(sum[:])
	if s == 0 {
		return 1 // rTorrent refuses an ID of 0
	}
	return s
}

// slot is where an ID is remembered. The signature's bits are as good as
// random.
func (c *cookies) slot(id uint64) *verified {
	return &c.verifiedCache[uint32(id)&uint32(len(c.verifiedCache)-1)]
}

func (c *cookies) remember(id uint64, ip []byte) {
	v := c.slot(id)
	v.id, v.ip = id, [16]byte{}
	copy(v.ip[:], ip)
}

// issue makes the ID for ip.
func (c *cookies) issue(ip []byte, now timestamp) uint64 {
	// A request must not begin like a reply, not even where it is 1970.
	wall := max(c.idDate(now), bep15.ActionError+1)
	id := uint64(wall)<<32 | uint64(c.signature(ip, wall))
	c.remember(id, ip)
	return id
}

// prefetch has the processor fetch what valid reads of that ID.
func (c *cookies) prefetch(id uint64) {
	prefetch.Lines(unsafe.Pointer(c.slot(id)), unsafe.Sizeof(verified{}))
}

// valid says whether id was issued to ip, by us or by who shares the secret,
// in the last two minutes.
func (c *cookies) valid(id uint64, ip []byte, now timestamp) bool {
	date := c.idDate(now)
	wall := uint32(id >> 32)
	if !unexpired(wall, date) && !(now.mono < c.oldUntil && unexpired(wall, uint32(now.mono)+c.oldOffset)) {
		return false
	}
	v := c.slot(id)
	if v.id == id && id != 0 && string(v.ip[:len(ip)]) == string(ip) {
		return true
	}
	if subtle.ConstantTimeEq(int32(c.signature(ip, wall)), int32(uint32(id))) == 0 {
		return false
	}
	c.remember(id, ip)
	return true
}

// unexpired says whether an ID of that date is neither expired nor from the
// future.
func unexpired(wall, now uint32) bool {
	age := int32(now - wall)
	return age >= -cookieSkew && age <= cookieLife
}

// idDate is what IDs are dated with now. It notices that the wall clock has
// jumped.
func (c *cookies) idDate(now timestamp) uint32 {
	if c.monotonicDates {
		return uint32(now.mono) + c.offset
	}
	offset := now.wall - uint32(now.mono)
	if d := int32(offset - c.offset); d < -1 || d > 1 {
		c.oldOffset, c.oldUntil = c.offset, now.mono+cookieLife
		c.offset = offset
	}
	return now.wall
}
