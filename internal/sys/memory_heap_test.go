//go:build linux && !portable && (race || heapslab)

package sys

import (
	"runtime"
	"testing"
)

// TestReserveInHeap: the race detector and the check of pointers see the slab.
func TestReserveInHeap(t *testing.T) {
	const size = 32 << 20
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	b, err := Reserve(size)
	if err != nil {
		t.Fatal(err)
	}
	if grown := heap() - before; grown < size/2 { // other objects may have gone
		t.Errorf("the heap has grown by %d bytes, want about %d", grown, size)
	}
	b[size-1] = 1
	Discard(b)
	if b[size-1] != 0 {
		t.Error("Discard has not cleared the memory")
	}
}
