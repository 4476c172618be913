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
