//go:build !portable && !race && !heapslab

package main

import (
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/sys/systest"
)

// This file checks which parts of the slab are in huge pages. An emulator accepts
// the requests for huge pages and makes none, so only one processor is tested.

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
	huge := systest.HugeBytes(t, slab)
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
	if got := systest.HugeBytes(t, slab); got != huge-sys.HugePage {
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
	if got := systest.HugeBytes(t, slab); got != huge {
		t.Errorf("%d bytes are in huge pages at the end, want %d", got, huge)
	}
}
