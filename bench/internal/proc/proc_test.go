package proc

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseKB(t *testing.T) {
	text := []byte("VmPeak:\t  999 kB\nVmHWM:\t    1234 kB\nThreads:\t5\n")
	if n, err := parseKB(text, "VmHWM"); err != nil || n != 1234<<10 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"Threads", "VmRSS"} {
		if _, err := parseKB(text, bad); err == nil {
			t.Errorf("field %s was taken", bad)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	before, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for time.Since(start) < 20*time.Millisecond {
	}
	after, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after <= before {
		t.Errorf("20 ms of work took the processor time from %v to %v", before, after)
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	// Its two parts are rounded down to microseconds each.
	if all := time.Duration(usage.Utime.Nano() + usage.Stime.Nano()); all < after-2*time.Microsecond {
		t.Errorf("processor time %v, but the process has used only %v since", after, all)
	}
	m, err := ReadMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if m.Resident < 1<<20 || m.Peak < m.Resident {
		t.Errorf("memory of this process: %+v", m)
	}
	if _, err := CPUTime(1 << 26); err == nil {
		t.Error("a process that can't exist has used processor time")
	}
}

func TestPinThread(t *testing.T) {
	// Not unlocked: the pinned thread ends with the test.
	runtime.LockOSThread()
	all, err := Processors()
	if err != nil {
		t.Fatal(err)
	}
	one := all[len(all)-1:]
	if err := PinThread(one...); err != nil {
		t.Fatal(err)
	}
	if got, err := Processors(); err != nil || !slices.Equal(got, one) {
		t.Errorf("pinned to %v, not %v: %v", got, one, err)
	}
}

// TestContextSwitches checks that the switches of a thread that sleeps are counted, and that a
// process that does not exist has no threads.
func TestContextSwitches(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sleep := func() (switches int) {
		t.Helper()
		before, threads, err := ContextSwitches(os.Getpid())
		if err != nil || threads < 1 {
			t.Fatalf("got %d threads, %v", threads, err)
		}
		for range 10 {
			pause := unix.NsecToTimespec(1e6)
			if err := unix.Nanosleep(&pause, nil); err != nil && err != unix.EINTR {
				t.Fatal(err)
			}
		}
		after, _, err := ContextSwitches(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return after - before
	}
	// A thread of another test that ends takes its switches with it.
	got := 0
	for end := time.Now().Add(20 * time.Second); got < 10 && time.Now().Before(end); {
		got = sleep()
	}
	if got < 10 {
		t.Errorf("got %d switches while a thread slept 10 times, want at least 10", got)
	}
	if _, _, err := ContextSwitches(1 << 30); err == nil {
		t.Error("got no error for a process that does not exist")
	}
}
