package prefetch

import (
	"testing"
	"unsafe"
)

// TestPrefetch: to foresee what isn't there, or nothing, does no harm, and
// changes nothing.
func TestPrefetch(t *testing.T) {
	b := []byte("a few bytes")
	for _, n := range []uintptr{0, 1, 63, 64, 65, 1 << 16} {
		Lines(nil, n)
		Lines(unsafe.Pointer(&b[0]), n)
	}
	if string(b) != "a few bytes" {
		t.Errorf("it has become %q", b)
	}
}
