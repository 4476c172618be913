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
		{count: 1000, now: 59, more: 0, in: 0},   // less than a minute
		{count: 100, now: 60, more: 100, in: 60}, // often enough
		{count: 99, now: 60, more: 0, in: 0},     // not often enough
		{count: 199, now: 120, more: 0, in: 0},   // the mean counts
		{count: 200, now: 120, more: 200, in: 120},
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
	}{
		{count: 1000, now: 60, more: 1000},
		{count: 2000, now: 119, more: 0},
		{count: 2000, now: 120, more: 1000},
		{count: 9000, now: 239, more: 0},
		{count: 9000, now: 240, more: 7000},
		{count: 9001, now: 480, more: 0},
		{count: 10_000, now: 539, more: 0},
		{count: 10_000, now: 540, more: 999},
	} {
		if more, _ := n.Next(c.count, c.now); more != c.more {
			t.Errorf("%d events at %d s: got %d, want %d", c.count, c.now, more, c.more)
		}
	}
}
