// Package hist is a histogram of durations: fixed memory, one addition a sample, and quantiles
// that are at most 1.6 % above the truth.
package hist

import (
	"math/bits"
	"time"
)

// Each power of two is cut into 64 buckets of equal width; below 64 ns a bucket is a nanosecond.
const (
	subBits = 6
	sub     = 1 << subBits
	buckets = (64 - subBits + 1) * sub
)

// Histogram counts durations. Its zero value is empty and ready.
type Histogram struct {
	count   [buckets]uint64
	samples uint64
	max     time.Duration
}

// Add counts a sample. A negative one (a clock read out of order) counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.count[bucket(uint64(d))]++
	h.samples++
	h.max = max(h.max, d)
}

// Samples is how many durations were added.
func (h *Histogram) Samples() uint64 { return h.samples }

// Max is the longest duration added, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns a duration that the share q (0 to 1) of the samples does not exceed. An empty
// histogram has quantile 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.samples == 0 {
		return 0
	}
	rank := min(uint64(q*float64(h.samples)), h.samples-1)
	var seen uint64
	for i, n := range h.count {
		seen += n
		if seen > rank {
			return min(time.Duration(upper(i)), h.max)
		}
	}
	return h.max
}

// Merge adds the samples of o to h.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.count {
		h.count[i] += n
	}
	h.samples += o.samples
	h.max = max(h.max, o.max)
}

func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// upper is the largest value that falls into bucket i.
func upper(i int) uint64 {
	if i < 2*sub {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(sub-1))+sub+1)<<shift - 1
}
