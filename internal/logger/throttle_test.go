package logger

import (
	"fmt"
	"testing"
)

// TestNews: a flood is a line after a minute, after two more, four, and so on
// up to an hour; what is rare is none.
func TestNews(t *testing.T) {
	var n Throttle
	var told []uint32
	total, sum := uint64(0), uint64(0)
	for now := uint32(0); now < 24*3600; now++ {
		total += 50
		if more, in := n.Next(total, now); more > 0 {
			told = append(told, in)
			sum += more
			if more != 50*uint64(in) && len(told) > 1 {
				t.Errorf("%d in %d seconds", more, in)
			}
		}
	}
	if got := fmt.Sprint(told[:8]); got != "[60 60 120 240 480 960 1920 3600]" || len(told) > 30 || sum < total*9/10 {
		t.Errorf("after %s, %d lines of %d in %d", got, len(told), sum, total)
	}
	// Rare ones, for a day.
	for now := uint32(24 * 3600); now < 48*3600; now++ {
		if now%2 == 0 {
			total++
		}
		if more, in := n.Next(total, now); more > 0 && now > 25*3600+3600 {
			t.Errorf("%d in %d seconds is news", more, in)
		}
	}
}

// TestThrottleLimits checks how often an event must happen to get a line, and how
// long it takes.
func TestThrottleLimits(t *testing.T) {
	for _, c := range []struct {
		count uint64
		now   uint32
		more  uint64
		in    uint32
	}{
		{1000, 59, 0, 0},   // less than a minute
		{100, 60, 100, 60}, // often enough
		{99, 60, 0, 0},     // not often enough
		{199, 120, 0, 0},   // the mean counts
		{200, 120, 200, 120},
	} {
		var n Throttle
		if more, in := n.Next(c.count, c.now); more != c.more || in != c.in {
			t.Errorf("%d events in %d s: got %d in %d s, want %d in %d s", c.count, c.now, more, in, c.more, c.in)
		}
	}
	// After a pause the event gets its line after a minute again.
	var n Throttle
	for _, c := range []struct {
		count uint64
		now   uint32
		more  uint64
	}{{1000, 60, 1000}, {2000, 119, 0}, {2000, 120, 1000}, {9000, 239, 0}, {9000, 240, 7000}, {9001, 480, 0}, {10_000, 539, 0}, {10_000, 540, 999}} {
		if more, _ := n.Next(c.count, c.now); more != c.more {
			t.Errorf("%d events at %d s: got %d, want %d", c.count, c.now, more, c.more)
		}
	}
}
