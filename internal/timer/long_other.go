//go:build !linux || portable

package timer

import "time"

// Long is a timer for long waits.
type Long = Timer

// NewLong returns a timer that is not started.
func NewLong() *Long {
	t := New(time.Hour)
	t.Stop()
	return t
}
