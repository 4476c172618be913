package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"testing"
)

// TestIDFormat makes IDs by the description in the documents: the date, and the
// start of HMAC-SHA256 over the address and the date.
func TestIDFormat(t *testing.T) {
	mac := func(key []byte, parts ...[]byte) []byte {
		m := hmac.New(sha256.New, key)
		m.Write(concat(parts...))
		return m.Sum(nil)
	}
	key := mac([]byte("secret"), []byte("pico-tracker connection ID"))
	families(t, func(t *testing.T, s *service, a, b, _ host) {
		for _, h := range []host{a, b} {
			got := s.connectID(h)
			want := concat(u32(testWall), mac(key, h.Addr().AsSlice(), u32(testWall))[:4])
			if string(got) != string(want) {
				t.Errorf("%s: %x, want %x", h, got, want)
			}
		}
	})
}

// zeroHash is a hash whose every sum is 0.
type zeroHash struct{}

func (zeroHash) Sum([]byte) (zero [32]byte) { return zero }

// TestIDNeverZero checks that no ID is 0, because rTorrent refuses it.
func TestIDNeverZero(t *testing.T) {
	for _, wall := range []uint32{0, 1, testWall, 1<<32 - 1} {
		now := timestamp{wall: wall}
		c := newCookies(nil, 4, now)
		c.mac = zeroHash{}
		ip := netip.MustParseAddr("192.0.2.1").AsSlice()
		id := c.issue(ip, now)
		if id == 0 || uint32(id) == 0 || !c.valid(id, ip, now) {
			t.Errorf("at %d: ID %x", wall, id)
		}
		clear(c.verifiedCache)
		if !c.valid(id, ip, now) || c.valid(id&^(1<<32-1), ip, now) || c.valid(0, ip, now) {
			t.Errorf("at %d: 0 is taken for an ID, or %x is not", wall, id)
		}
	}
}

// TestRememberedIDs checks that the table of verified IDs never changes a
// decision.
func TestRememberedIDs(t *testing.T) {
	now := timestamp{wall: testWall}
	key := deriveKey([]byte("k"))
	c, plain := newCookies(key, 0, now), newCookies(key, 0, now)
	rng := splitMix64{state: 1}
	type issued struct {
		id uint64
		ip [4]byte
	}
	var all []issued
	for i := 0; i < 3000; i++ {
		now.mono += seconds(rng.below(2))
		now.wall += rng.below(2)
		c.idDate(now)
		plain.idDate(now)
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], rng.below(4))
		if rng.below(3) == 0 {
			all = append(all, issued{c.issue(ip[:], now), ip})
			continue
		}
		var id uint64
		if len(all) > 0 {
			id = all[len(all)-1-int(rng.below(uint32(min(200, len(all)))))].id
		}
		clear(plain.verifiedCache)
		if got, want := c.valid(id, ip[:], now), plain.valid(id, ip[:], now); got != want {
			t.Fatalf("step %d: ID %x of %v: %v, want %v", i, id, ip, got, want)
		}
	}
}

// TestSteadyIDs checks that an ID is valid for two minutes if no other instance
// shares the key, and never again, with any change of the wall clock.
func TestSteadyIDs(t *testing.T) {
	for _, before := range []uint32{0, 3, 10, testWall, 1<<32 - 60} {
		for _, after := range []uint32{0, 10, testWall - 3600, testWall - 60, testWall - 11, testWall, testWall + 200, 1<<32 - 5} {
			now := timestamp{mono: 3, wall: before}
			c := newCookies(deriveKey([]byte("k")), 4, now)
			c.monotonicDates = true
			ip := netip.MustParseAddr("192.0.2.1").AsSlice()
			now.mono += 50
			now.wall += 50
			id, issued := c.issue(ip, now), now.mono
			now.wall = after
			for ; now.mono < issued+4000; now.mono, now.wall = now.mono+1, now.wall+1 {
				clear(c.verifiedCache)
				if got, want := c.valid(id, ip, now), now.mono <= issued+cookieLife; got != want {
					t.Fatalf("from %d to %d: accepted %v, %d s after it was issued", before, after, got, now.mono-issued)
				}
			}
		}
	}
}

// TestClockSetBack checks that an ID lives for two minutes with a shared key
// too, except when its date returns. SECURITY.md says so.
func TestClockSetBack(t *testing.T) {
	for _, back := range []uint32{11, 60, 200, 3600} {
		now := timestamp{mono: 1000, wall: testWall}
		c := newCookies(deriveKey([]byte("k")), 4, now)
		ip := netip.MustParseAddr("192.0.2.1").AsSlice()
		id := c.issue(ip, now)
		now.wall -= back
		for age := uint32(0); age < 8000; age++ {
			clear(c.verifiedCache)
			again := age+cookieSkew >= back && age <= back+cookieLife
			if got, want := c.valid(id, ip, now), age < cookieLife || again; got != want {
				t.Fatalf("set back by %d: accepted %v after %d s", back, got, age)
			}
			now.mono++
			now.wall++
		}
	}
}
