package main

import (
	"crypto/subtle"
	"encoding/binary"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/hmac256"
	"github.com/fabricionaweb/pico-tracker/internal/prefetch"
)

// This file makes and checks connection IDs: [32-bit timestamp][32-bit
// signature]. The signature is the start of HMAC-SHA256 over the client's IP and
// the timestamp (BEP 15, "UDP connections / spoofing"). Nothing is stored for a
// client. An ID is bound to the IP and not to the port, because libtorrent uses
// one ID for all its sockets and NATs change ports.

const (
	cookieLife = 120 // seconds; BEP 15
	// cookieSkew is how many seconds the clock of another instance may be ahead.
	// Later timestamps are rejected, because a guessed ID would be valid for
	// longer than two minutes.
	cookieSkew = 10
)

// deriveKey makes the signing key from the operator's secret.
func deriveKey(secret []byte) []byte {
	key := hmac256.New(secret).Sum([]byte("pico-tracker connection ID"))
	return key[:]
}

// timestamp is the time at which a batch of requests was received.
type timestamp struct {
	mono seconds // since the start of the process
	wall uint32  // seconds since 1970, as IDs are dated
}

// cookies signs and checks connection IDs for one worker.
type cookies struct {
	mac interface{ Sum(message []byte) [32]byte }
	in  [20]byte // a field, because an argument of an interface method is allocated

	// monotonicDates is set if no other instance has the key. The IDs then use
	// the monotonic clock, and changes of the wall clock don't matter.
	monotonicDates bool

	// A board without a battery starts in 1970, and its clock jumps when it gets
	// the time. offset is wall minus mono. After a jump the old offset is valid
	// too, for the life of an ID. If the clock was set back, IDs that were issued
	// before are valid again when their time comes: they can't be told from the
	// IDs of another instance with the same key.
	offset    uint32
	oldOffset uint32
	oldUntil  seconds

	verifiedCache []verified
}

// verified is an ID that was issued or found valid lately. Its signature never
// becomes invalid, so a client's second packet needs no HMAC.
type verified struct {
	id uint64
	ip [16]byte
}

// newCookies returns cookies that remember 1<<bits IDs.
func newCookies(key []byte, bits int, now timestamp) *cookies {
	return &cookies{
		mac:           hmac256.New(key),
		offset:        now.wall - uint32(now.mono),
		verifiedCache: make([]verified, 1<<bits),
	}
}

// signature returns the signature for an IP address of 4 or 16 bytes. It is
// never 0.
func (c *cookies) signature(ip []byte, wall uint32) uint32 {
	n := copy(c.in[:], ip)
	binary.BigEndian.PutUint32(c.in[n:], wall)
	sum := c.mac.Sum(c.in[:n+4])
	s := binary.BigEndian.Uint32(sum[:])
	if s == 0 {
		return 1 // rTorrent refuses the ID 0
	}
	return s
}

// slot returns where an ID is remembered. The bits of a signature are as good
// as random.
func (c *cookies) slot(id uint64) *verified {
	return &c.verifiedCache[uint32(id)&uint32(len(c.verifiedCache)-1)]
}

func (c *cookies) remember(id uint64, ip []byte) {
	v := c.slot(id)
	v.id, v.ip = id, [16]byte{}
	copy(v.ip[:], ip)
}

// issue returns a new ID for ip.
func (c *cookies) issue(ip []byte, now timestamp) uint64 {
	// A request must not begin like a reply, not even in 1970.
	wall := max(c.idDate(now), bep15.ActionError+1)
	id := uint64(wall)<<32 | uint64(c.signature(ip, wall))
	c.remember(id, ip)
	return id
}

// prefetch prefetches what valid reads for that ID.
func (c *cookies) prefetch(id uint64) {
	prefetch.Lines(unsafe.Pointer(c.slot(id)), unsafe.Sizeof(verified{}))
}

// valid reports whether id was issued to ip in the last two minutes, by this
// instance or by one with the same secret.
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

// unexpired reports whether an ID with the time wall is neither expired nor
// from the future.
func unexpired(wall, now uint32) bool {
	age := int32(now - wall)
	return age >= -cookieSkew && age <= cookieLife
}

// idDate returns the time for IDs that are issued now. It notices jumps of the
// wall clock.
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
