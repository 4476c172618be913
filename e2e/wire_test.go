//go:build linux

package e2e

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
)

// This file simulates bad networks. tc's netem could do it, but many kernels
// lack it, for example those of small machines and of CI.

// A wire carries the frames between a host and the bridge, in both directions.
type wire struct {
	*host
	ends [2]*os.File
	done sync.WaitGroup

	mu      sync.Mutex
	badness badness
	rng     *rand.Rand
	told    badnessTold
}

// badness says what a wire does to frames.
type badness struct {
	loss      float64       // share of the frames that are lost
	duplicate float64       // share that arrives twice
	reorder   float64       // share that others overtake
	delay     time.Duration // of all
}

// badnessTold counts the frames by what was done to them.
type badnessTold struct{ carried, lost, doubled, overtaken int }

// overtaking is how long a frame is held while others overtake it.
const overtaking = 20 * time.Millisecond

// wire puts a wire between the host and its port on the bridge.
func (h *host) wire() *wire {
	h.Helper()
	w := &wire{host: h, rng: rand.New(rand.NewPCG(1, 2))}
	outer := "wire-" + h.port
	h.ip("-n", h.bridge, "link", "set", h.port, "nomaster")
	h.ip("-n", h.bridge, "link", "add", outer, "type", "veth", "peer", "name", outer+"b")
	h.ip("-n", h.bridge, "link", "set", outer+"b", "master", "br0", "up")
	h.ip("-n", h.bridge, "link", "set", outer, "up")
	for i, name := range []string{h.port, outer} {
		end, err := openThere(h.bridge, "packet:"+name)
		if err != nil {
			h.Fatal(err)
		}
		w.ends[i] = end
	}
	for i := range w.ends {
		w.done.Add(1)
		go w.carry(w.ends[i], w.ends[1-i])
	}
	h.Cleanup(func() {
		for _, end := range w.ends {
			end.Close()
		}
		w.done.Wait()
	})
	return w
}

// turn sets how bad the wire is, and returns what it did since the last call.
func (w *wire) turn(b badness) badnessTold {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.badness, w.told = b, badnessTold{}
	return told
}

// carry moves frames until an end is closed.
func (w *wire) carry(from, to *os.File) {
	defer w.done.Done()
	buffer := make([]byte, 1<<16+64)
	for {
		n, err := from.Read(buffer)
		switch {
		case errors.Is(err, syscall.ENETDOWN): // an interface that is down; it may come up again
			continue
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			w.Errorf("the wire of %s: %v", w.name, err)
			return
		}
		copies, late := w.decide()
		frame := append([]byte(nil), buffer[:n]...)
		send := func() {
			for range copies {
				// A frame that cannot be sent is lost, as on any
				// network.
				_, _ = to.Write(frame)
			}
		}
		if late > 0 {
			time.AfterFunc(late, send)
		} else {
			send()
		}
	}
}

func (w *wire) decide() (copies int, late time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told.carried++
	if w.rng.Float64() < w.badness.loss {
		w.told.lost++
		return 0, 0
	}
	copies, late = 1, w.badness.delay
	if w.rng.Float64() < w.badness.duplicate {
		w.told.doubled++
		copies++
	}
	if w.rng.Float64() < w.badness.reorder {
		w.told.overtaken++
		late += overtaking
	}
	return copies, late
}
