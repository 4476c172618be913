package load

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// RunPaced sends single requests at an even pace, in requests a second, for a
// time, and waits for each reply like a client. It sleeps between requests, so
// that the machine is as idle as at home.
func (g *Generator) RunPaced(w Workload, rate float64, length time.Duration) (*Result, error) {
	if rate <= 0 {
		return nil, errors.New("a rate is more than 0 requests a second")
	}
	r := g.requests(w)
	defer g.keep(r)
	g.begin(&w, maxSlots)
	start := g.now()
	for number := int64(0); ; number++ {
		due := start + time.Duration(float64(number)/rate*1e9)
		if due >= start+length {
			break
		}
		if err := g.sleepUntil(due); err != nil {
			return nil, err
		}
		var q request
		if !r.next(&q) {
			break
		}
		g.start(q, due, g.now())
		if err := g.flush(); err != nil {
			return nil, err
		}
		next := due + time.Duration(1e9/rate)
		for len(g.free) < g.window && g.now() < next {
			if err := g.collect(true); err != nil {
				return nil, err
			}
		}
	}
	return g.finish(start)
}

// sleepUntil sleeps on the thread, not in the Go runtime, whose timers wake other threads.
func (g *Generator) sleepUntil(when time.Duration) error {
	for {
		left := when - g.now()
		if left <= 0 {
			return nil
		}
		t := unix.NsecToTimespec(int64(left))
		if err := unix.Nanosleep(&t, nil); err != nil && err != unix.EINTR {
			return err
		}
	}
}
