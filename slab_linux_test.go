//go:build linux && !portable && !race && !heapslab

package main

import (
	"testing"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"golang.org/x/sys/unix"
)

// This file checks how much of the slab and the tables is resident. The race
// detector has them in the Go heap.

// residentBytes returns how much of b is resident. b begins with a system page.
// known is false if the system does not tell, as an emulator may.
func residentBytes(t *testing.T, b []byte) (n int, known bool) {
	t.Helper()
	status := make([]byte, (len(b)+sys.PageSize-1)/sys.PageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&status[0]))); errno != 0 {
		t.Logf("mincore: %v", errno)
		return 0, false
	}
	for _, s := range status {
		n += int(s&1) * sys.PageSize
	}
	return n, true
}

// slabOfPages returns a pool of which all pages are in use and resident.
func slabOfPages(t *testing.T, n int) *pool {
	t.Helper()
	p, err := newPool(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sys.Release(p.mem)
		sys.Release(unsafe.Slice((*byte)(unsafe.Pointer(&p.pages[0])), len(p.pages)*int(unsafe.Sizeof(page{}))))
	})
	for range n {
		i := p.allocPage(ownerTag(0, classTorrent))
		if i == 0 {
			t.Fatal("the pool is full too early")
		}
		*block[byte](p, ref(i*pageUnit)) = byte(i)
	}
	return p
}

// TestPagesReturnToTheSystem checks that pages which have been free for long
// enough are not resident any more. All others stay, with their content.
func TestPagesReturnToTheSystem(t *testing.T) {
	const n = 256
	p := slabOfPages(t, n)
	expect := func(what string, want int) {
		t.Helper()
		if got, known := residentBytes(t, p.mem[:(n+1)*pageSize]); known && got != want {
			t.Errorf("%s: %d bytes are resident, want %d", what, got, want)
		}
	}
	expect("in use", n*pageSize)
	group := uint32(max(1, sys.PageSize/pageSize))
	inUse := func(i uint32) bool { return i/group%2 == 0 }
	used := 0
	for i := uint32(1); i <= n; i++ {
		if inUse(i) {
			used++
		} else {
			p.freePage(i, 1000)
		}
	}
	for range n {
		p.releaseIdle(1059, 60, n)
	}
	expect("59 seconds later", n*pageSize)
	for range n {
		p.releaseIdle(1060, 60, n)
	}
	if group == 1 { // else page 0 or the last pages share a system page with others
		expect("60 seconds later", used*pageSize)
	}
	for i := uint32(1); i <= n; i++ {
		if got := *block[byte](p, ref(i*pageUnit)); inUse(i) && got != byte(i) {
			t.Fatalf("page %d is in use and has %d, want %d", i, got, byte(i))
		}
	}
	if used, _, resident := p.usage(); used != resident && group == 1 {
		t.Errorf("%d pages in use, %d counted as resident", used, resident)
	}
}

// TestTableReturnsToTheSystem checks that the end of a shard's table, which is
// not used after many torrents have gone, is not resident any more. No torrent
// may be lost, wherever the table ends in a page.
func TestTableReturnsToTheSystem(t *testing.T) {
	const most = 40_000
	for _, left := range []int{1, 3001, 4095} {
		s := newTestStore(t, 1000, 1)
		sh := &s.shards[0]
		table := unsafe.Slice((*byte)(unsafe.Pointer(&sh.buckets[0])), len(sh.buckets)*bucketBytes)
		var rng splitMix64
		for i := 0; i < most; i++ {
			if _, _, o := announce(s, &announceParams{hash: testHash(i)}, testKey4(i), &rng, nil); o != resultAdded {
				t.Fatalf("torrent %d: outcome %d", i, o)
			}
		}
		// Without many free buckets the table stays resident.
		s.trim(0, idleBefore, 1)
		if got, known := residentBytes(t, table); known && got < most*bucketBytes {
			t.Errorf("%d torrents: %d bytes of the table are resident, want at least %d", most, got, most*bucketBytes)
		}
		for i := left; i < most; i++ {
			announce(s, &announceParams{hash: testHash(i), stopped: true}, testKey4(i), &rng, nil)
		}
		s.trim(0, idleBefore, 1)
		if int(sh.inUse) > 2*left+2*firstBuckets {
			t.Fatalf("%d torrents have %d buckets", left, sh.inUse)
		}
		want := int(sh.inUse)*bucketBytes + 2*sys.PageSize // where it ends, and where it once ended
		if got, known := residentBytes(t, table); known && got > want {
			t.Errorf("%d torrents: %d bytes of the table are resident, want at most %d", left, got, want)
		}
		for i := 0; i < left; i++ {
			if s.scrape(testHash(i)).leechers != 1 {
				t.Fatalf("%d torrents: torrent %d is lost", left, i)
			}
		}
		checkInvariants(t, s)
	}
}
