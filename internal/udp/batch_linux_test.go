//go:build linux && !portable

package udp

import (
	"bytes"
	"testing"
	"unsafe"
)

// TestDatagramBytes compares with the memory that a socket has.
func TestDatagramBytes(t *testing.T) {
	const batch = 4
	s, _ := testSocket(t, "127.0.0.1", batch)
	got := batch * testSizes.DatagramBytes()
	want := len(s.requests) + len(s.replies) + len(s.slots)*int(unsafe.Sizeof(s.slots[0])) +
		(len(s.in)+len(s.out))*int(unsafe.Sizeof(s.in[0])) + len(s.iovs)*int(unsafe.Sizeof(s.iovs[0]))
	if got != want {
		t.Errorf("got %d bytes for %d datagrams, want %d", got, batch, want)
	}
}

// TestOldRepliesStay checks that a reply that the kernel refuses does not repeat the
// replies of the batch before.
func TestOldRepliesStay(t *testing.T) {
	for _, l := range loopbacks {
		s, port := testSocket(t, l.wildcard, 8)
		c := dialClient(t, l.addr, port)
		batchOf(t, s, 8, func(i int) { c.send(numbered(i)) })
		for i := range 8 {
			s.Reply(i, append(s.Buffer(i), s.Request(i)...))
		}
		if failed := s.Flush(8); failed != 0 {
			t.Errorf("%s: %d replies failed, want 0", l.addr, failed)
		}
		for i := range 8 {
			if got := c.receive(); !bytes.Equal(got, numbered(i)) {
				t.Errorf("%s: reply %d is %x", l.addr, i, got)
			}
		}
		batchOf(t, s, 3, func(i int) { c.send(numbered(10 + i)) })
		copy(s.slots[0].name[2:4], "\x00\x00") // port 0: no one's
		for i := range 3 {
			s.Reply(i, append(s.Buffer(i), s.Request(i)...))
		}
		if failed := s.Flush(3); failed != 1 {
			t.Errorf("%s: %d replies failed, want 1", l.addr, failed)
		}
		c.send(numbered(20))
		echo(t, s, 1)
		for _, n := range []int{11, 12, 20} {
			if got := c.receive(); !bytes.Equal(got, numbered(n)) {
				t.Errorf("%s: got %x, want %x", l.addr, got, numbered(n))
			}
		}
	}
}
