//go:build !portable && !race && !heapslab

package sys

import (
	"testing"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys/systest"
	"golang.org/x/sys/unix"
)

// hugeMemory returns resident memory with the size and alignment of a huge page.
func hugeMemory(t *testing.T) []byte {
	t.Helper()
	b, err := Reserve(2 * HugePage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Release(b) })
	at := int(-uintptr(unsafe.Pointer(&b[0])) % HugePage)
	huge := b[at : at+HugePage]
	for i := 0; i < len(huge); i += PageSize {
		huge[i] = byte(i/PageSize + 1)
	}
	return huge
}

// TestCollapseHuge checks that memory of Reserve is in no huge page until CollapseHuge
// makes one of it, that its content stays, and that Discard returns a part of it
// after SplitHuge. An emulator makes no huge pages, so only one processor is tested.
func TestCollapseHuge(t *testing.T) {
	const collapse = 25 // MADV_COLLAPSE
	probe := hugeMemory(t)
	possible := PageSize == 4096 && unix.Madvise(probe, unix.MADV_HUGEPAGE) == nil && unix.Madvise(probe, collapse) == nil
	b := hugeMemory(t)
	if n := systest.HugeBytes(t, b); n != 0 {
		t.Errorf("%d bytes are in huge pages before, want 0", n)
	}
	want := 0
	if possible {
		want = HugePage
	} else {
		t.Log("this system makes no huge pages on request: only the refusal is tested")
	}
	if got := CollapseHuge(b); got != possible {
		t.Errorf("got %v, want %v", got, possible)
	}
	if n := systest.HugeBytes(t, b); n != want {
		t.Errorf("%d bytes are in huge pages, want %d", n, want)
	}
	SplitHuge(b)
	Discard(b[:PageSize])
	if resident, known := residentIn(t, b); known && resident != HugePage/PageSize-1 {
		t.Errorf("%d pages are resident, want all except one", resident)
	}
	for i := 0; i < len(b); i += PageSize {
		want := byte(i/PageSize + 1)
		if i == 0 {
			want = 0
		}
		if b[i] != want {
			t.Fatalf("page %d has %d, want %d", i/PageSize, b[i], want)
		}
	}
	err := refused(t, []uint32{unix.SYS_MADVISE}, func() error {
		if CollapseHuge(probe) {
			t.Error("a kernel without huge pages: got true")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
