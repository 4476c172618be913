//go:build linux && !portable

package timer

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLongClosesDescriptor checks that no descriptor stays open after Stop.
func TestLongClosesDescriptor(t *testing.T) {
	timer := NewLong()
	if timer.own != nil {
		t.Fatal("the kernel gives no descriptor")
	}
	timer.Stop()
	if err := timer.set(0); err != unix.EBADF {
		t.Errorf("got %v, want a descriptor that is closed", err)
	}
}

// TestLongWithoutDescriptor checks that a timer works if no descriptor is left.
func TestLongWithoutDescriptor(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	low := limit
	low.Cur = uint64(f.Fd()) // the next one would be higher
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	timer := NewLong()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if timer.own == nil {
		t.Fatal("got a descriptor above the limit")
	}
	defer timer.Stop()
	timer.Reset(time.Millisecond)
	select {
	case <-timer.C:
	case <-time.After(deadline):
		t.Error("got no value")
	}
}
