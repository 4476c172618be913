//go:build linux && !portable && !race && !heapslab

package sys

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// residentIn returns how many system pages of b are resident. known is false if
// the system does not tell, as an emulator may.
func residentIn(t *testing.T, b []byte) (pages int, known bool) {
	t.Helper()
	status := make([]byte, len(b)/PageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&status[0]))); errno != 0 {
		t.Logf("mincore: %v", errno)
		return 0, false
	}
	for _, s := range status {
		pages += int(s & 1)
	}
	return pages, true
}

// TestMemoryIsReserved checks that memory is zero and takes nothing until it is
// used, that Discard returns exactly its part, and that this part is usable again.
func TestMemoryIsReserved(t *testing.T) {
	const pages = 64
	b, err := Reserve(pages * PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer Release(b)
	if len(b) != pages*PageSize {
		t.Fatalf("got %d bytes, want %d", len(b), pages*PageSize)
	}
	expect := func(what string, want int) {
		t.Helper()
		if got, known := residentIn(t, b); known && got != want {
			t.Errorf("%s: %d pages are resident, want %d", what, got, want)
		}
	}
	expect("new", 0)
	for i := range pages {
		if b[i*PageSize] != 0 {
			t.Fatalf("page %d is not zero", i)
		}
		b[i*PageSize] = byte(i + 1)
	}
	expect("used", pages)
	Discard(b[8*PageSize : 24*PageSize])
	expect("discarded", pages-16)
	for i := range pages {
		want := byte(i + 1)
		if i >= 8 && i < 24 {
			want = 0
		}
		if b[i*PageSize] != want {
			t.Errorf("page %d has %d, want %d", i, b[i*PageSize], want)
		}
	}
}
