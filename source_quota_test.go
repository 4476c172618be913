package main

import "testing"

// TestShareCounts: a source may have as many as its share, and what it gives
// back it may have again.
func TestShareCounts(t *testing.T) {
	s := sourceQuota{hash: testKey(), max: 3}
	for i := 0; i < 3; i++ {
		if !s.allows(1) {
			t.Fatalf("peer %d is refused", i)
		}
		s.add(1, 1)
	}
	if s.allows(1) || !s.allows(2) {
		t.Fatal("after three: the source is allowed, or another is refused")
	}
	s.add(1, -1)
	if !s.allows(1) {
		t.Fatal("refused after one has gone")
	}
}

// TestShareOfNeighbours: sources that have taken all they may, which can be
// twenty at a share of 5 %, take nobody else's. Who is unlucky in both rows is
// one in a thousand then.
func TestShareOfNeighbours(t *testing.T) {
	s := sourceQuota{hash: testKey(), max: 1000}
	for source := uint64(0); source < 20; source++ {
		for s.allows(source << 32) {
			s.add(source<<32, 1)
		}
	}
	refused := 0
	for i := uint64(0); i < 10000; i++ {
		if !s.allows(0x2001_0db8_0000_0000 + i) {
			refused++
		}
	}
	if refused > 30 {
		t.Errorf("%d of 10000 strangers are refused", refused)
	}
}

// TestSourceOf: an IPv4 address is a source, and of IPv6 a /64 with all its
// hosts and ports.
func TestSourceOf(t *testing.T) {
	k := key4{192, 0, 2, 1, 1, 2}
	same, other := k, k
	same[5]++
	other[3]++
	if sourceOf(&k) != sourceOf(&same) || sourceOf(&k) == sourceOf(&other) {
		t.Error("IPv4: ports count, or addresses do not")
	}
	k6 := *testKey6(1)
	for i := range k6 {
		o := k6
		o[i]++
		if differs := sourceOf(&k6) != sourceOf(&o); differs != (i < 8) {
			t.Errorf("IPv6: byte %d counts: %v", i, differs)
		}
	}
}
