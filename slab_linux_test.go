//go:build linux && !portable && !race && !heapslab

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"golang.org/x/sys/unix"
)

// This file checks what the system knows of the slab and the tables: how much is
// resident, and in huge pages. The race detector has them in the Go heap.

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

// hugeBytes returns how much of b is in huge pages, by /proc/self/smaps.
func hugeBytes(t *testing.T, b []byte) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	from := uintptr(unsafe.Pointer(&b[0]))
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var low, high uintptr
		var kib int
		if strings.Contains(lines.Text(), "-") {
			if k, _ := fmt.Sscanf(lines.Text(), "%x-%x", &low, &high); k == 2 {
				inside = low >= from && high <= from+uintptr(len(b))
				continue
			}
		}
		if k, _ := fmt.Sscanf(lines.Text(), "AnonHugePages: %d kB", &kib); k == 1 && inside {
			n += kib << 10
		}
	}
	return n
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
	const most = 60_000
	for _, left := range []int{1, 3000, 3001, 3500, 4095} {
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

// TestHugePages checks that the parts of the slab in which every page is resident
// become huge pages, and nothing else: no memory becomes resident. A part of
// which pages return to the system is split first.
func TestHugePages(t *testing.T) {
	if sys.PageSize != pageSize {
		return // huge pages have another size
	}
	const chunks = 4
	p := slabOfPages(t, (chunks+1)*chunkPages-1) // chunks whole ones, wherever the slab begins
	slab := p.mem[: len(p.mem)/pageSize*pageSize : len(p.mem)/pageSize*pageSize]
	for range 2 { // a second pass changes nothing
		for range chunks + 2 {
			if !p.collapseHuge(1) {
				t.Log("this system makes no huge pages on request: not tested")
				return
			}
		}
	}
	huge := hugeBytes(t, slab)
	if huge < (chunks-1)*sys.HugePage || huge > (chunks+1)*sys.HugePage {
		t.Fatalf("%d bytes are in huge pages, want about %d of %d", huge, chunks*sys.HugePage, len(slab))
	}
	for i := uint32(1); i < uint32(len(p.pages)); i++ {
		if got := *block[byte](p, ref(i*pageUnit)); got != byte(i) {
			t.Fatalf("page %d has %d, want %d", i, got, byte(i))
		}
	}
	// One page returns to the system.
	i := uint32(2*chunkPages + chunkPages/2)
	p.freePage(i, 0)
	before, _ := residentBytes(t, slab)
	for range 100 {
		p.releaseIdle(1000, 60, 100)
	}
	after, known := residentBytes(t, slab)
	if known && before-after != pageSize {
		t.Errorf("%d bytes returned to the system, want %d", before-after, pageSize)
	}
	if got := hugeBytes(t, slab); got != huge-sys.HugePage {
		t.Errorf("%d bytes are in huge pages after a page has returned, want %d", got, huge-sys.HugePage)
	}
	// It is not taken back while it is free.
	for range 2 * (chunks + 2) {
		if !p.collapseHuge(1) {
			t.Fatal("the system refuses huge pages now")
		}
	}
	if got, known := residentBytes(t, slab); known && got != after {
		t.Errorf("%d bytes are resident, want %d as before", got, after)
	}
	// It is used again: then the part becomes a huge page again.
	if got := p.allocPage(ownerTag(0, classTorrent)); got != i {
		t.Fatalf("got page %d, want %d", got, i)
	}
	*block[byte](p, ref(i*pageUnit)) = byte(i)
	for range 2 * (chunks + 2) {
		p.collapseHuge(1)
	}
	if got := hugeBytes(t, slab); got != huge {
		t.Errorf("%d bytes are in huge pages at the end, want %d", got, huge)
	}
}
