// Package timer has a timer that costs little flash. A time.Timer has a channel of
// time.Time. That type keeps time.Time.String in the binary, and with it the code
// for time zones: 30 KB of a router's flash. The channel of this timer has no
// values.
package timer

import "time"

// Timer sends on C when its time is over.
type Timer struct {
	C     chan struct{}
	timer *time.Timer
}

// New returns a timer for a duration.
func New(d time.Duration) *Timer {
	c := make(chan struct{}, 1)
	return &Timer{C: c, timer: time.AfterFunc(d, func() {
		select {
		case c <- struct{}{}:
		default:
		}
	})}
}

// Reset starts the timer again. A value that C already has is removed. If the old
// time is over at this moment, C can still get a value too early.
func (t *Timer) Reset(d time.Duration) {
	t.timer.Stop()
	select {
	case <-t.C:
	default:
	}
	t.timer.Reset(d)
}

// Stop stops the timer.
func (t *Timer) Stop() { t.timer.Stop() }
