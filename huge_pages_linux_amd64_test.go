//go:build !portable && !race && !heapslab

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file checks which parts of the slab are in huge pages. An emulator accepts
// the requests for huge pages and makes none, so only one processor is tested.

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
