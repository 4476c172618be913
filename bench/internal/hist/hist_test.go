package hist

import (
	"math"
	"math/rand"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreInOrderAndMeet(t *testing.T) {
	values := []uint64{0, 1, 62, 63, 64, 65, 127, 128, 129, 130, 255, 256, 1e3, 1e6, 1e9, 1e12, math.MaxInt64}
	for _, v := range values {
		i := bucket(v)
		if up := upper(i); up < v || float64(up-v) > float64(v)/sub {
			t.Errorf("%d falls into bucket %d, which ends at %d", v, i, up)
		}
		if i > 0 && upper(i-1) >= v {
			t.Errorf("%d falls into bucket %d, but the one before ends at %d", v, i, upper(i-1))
		}
	}
	for i := 1; i <= bucket(math.MaxInt64); i++ {
		if bucket(upper(i)) != i || bucket(upper(i-1)+1) != i {
			t.Fatalf("bucket %d does not begin where bucket %d ends", i, i-1)
		}
	}
}

func TestQuantile(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	var h, half Histogram
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(rng.ExpFloat64() * float64(time.Millisecond))
		if i%2 == 0 {
			h.Add(all[i])
		} else {
			half.Add(all[i])
		}
	}
	h.Merge(&half)
	slices.Sort(all)
	if h.Samples() != 10_000 || h.Max() != all[len(all)-1] || h.Quantile(1) != h.Max() {
		t.Fatalf("%d samples, max %v, want 10000, %v", h.Samples(), h.Max(), all[len(all)-1])
	}
	for _, q := range []float64{0, 0.5, 0.99, 0.999} {
		exact, got := all[int(q*float64(len(all)))], h.Quantile(q)
		if got < exact || float64(got-exact) > float64(exact)/sub+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, exact)
		}
	}
}

func TestEmptyAndNegative(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a quantile")
	}
	h.Add(-time.Second)
	if h.Samples() != 1 || h.Max() != 0 || h.Quantile(0.99) != 0 {
		t.Error("a negative sample is not zero")
	}
}
