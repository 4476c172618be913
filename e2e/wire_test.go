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

// An impairedLink carries the frames between a host and the bridge, in both directions.
type impairedLink struct {
	*host
	ends [2]*os.File
	done sync.WaitGroup

	mu         sync.Mutex
	impairment impairment
	rng        *rand.Rand
	told       impairmentCounts
}

// impairment has the faults of a link.
type impairment struct {
	loss      float64       // share of the frames that are lost
	duplicate float64       // share of the frames that arrive twice
	reorder   float64       // share of the frames that others overtake
	delay     time.Duration // of all frames
}

// impairmentCounts counts the frames of a link by fault.
type impairmentCounts struct{ carried, lost, doubled, overtaken int }

// overtaking is how long a frame is held while others overtake it.
const overtaking = 20 * time.Millisecond

// impair puts a link between the host and its port on the bridge.
func (h *host) impair() *impairedLink {
	h.Helper()
	w := &impairedLink{host: h, rng: rand.New(rand.NewPCG(1, 2))}
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

// turn sets the impairment. It returns the counts since the last call.
func (w *impairedLink) turn(b impairment) impairmentCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.impairment, w.told = b, impairmentCounts{}
	return told
}

// carry moves frames until an end is closed.
func (w *impairedLink) carry(from, to *os.File) {
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
			w.Errorf("the link of %s: %v", w.name, err)
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

func (w *impairedLink) decide() (copies int, late time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told.carried++
	if w.rng.Float64() < w.impairment.loss {
		w.told.lost++
		return 0, 0
	}
	copies, late = 1, w.impairment.delay
	if w.rng.Float64() < w.impairment.duplicate {
		w.told.doubled++
		copies++
	}
	if w.rng.Float64() < w.impairment.reorder {
		w.told.overtaken++
		late += overtaking
	}
	return copies, late
}
