package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// The buckets of a Histogram are log-linear, as those of HdrHistogram: every
// power of two is divided into steps of the same width. With 32 steps a bucket
// is at most 1/32 of its lower bound wide from 8.192 µs on, so that its middle
// is within 1/64 (1.6 %) of every value in it. Below, buckets are 256 ns wide.
const (
	stepBits   = 5
	steps      = 1 << stepBits
	unitBits   = 8 // The narrowest bucket is 256 ns wide.
	topBits    = 40
	maxBuckets = (topBits - unitBits - stepBits + 1) * steps
)

// Histogram is a distribution of durations. The zero value is empty and ready for
// use.
//
// Durations from 10 µs to 10 min are kept with a relative error of at most 1.6 %;
// those above 18 min count as 18 min in [Histogram.Quantile]. Histograms add up
// exactly, and the difference of two snapshots of one histogram is exactly the
// histogram of the time between them. Plus and Minus return new values; copies
// share memory, so only the original of a Histogram may be added to by Observe.
//
// Its JSON form is {"max":ns,"buckets":[index,count,index,count,…]}, where index
// is the number of a bucket that isn't empty.
type Histogram struct {
	counts []uint64
	count  uint64
	max    time.Duration
}

// Observe adds one duration. A negative one counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	if h.counts == nil {
		h.counts = make([]uint64, maxBuckets)
	}
	h.counts[bucketOf(d)]++
	h.count++
	h.max = max(h.max, d)
}

// Count is the number of durations.
func (h Histogram) Count() uint64 { return h.count }

// Max is the longest duration. It is exact, except after Minus: then it is at
// most 3.2 % too long.
func (h Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration below which the share q of all durations lies, by
// the nearest-rank method; q is from 0 to 1. An empty histogram's is 0.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(h.count)))
	rank = min(max(rank, 1), h.count)
	if rank == h.count {
		return h.max
	}
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			low, high := bucketBounds(i)
			return min(low+(high-low)/2, h.max)
		}
	}
	return h.max
}

// Above is how many durations are longer than the lowest bound between two buckets that
// isn't below d.
func (h Histogram) Above(d time.Duration) uint64 {
	first := bucketOf(max(d, 0))
	if low, _ := bucketBounds(first); low < d {
		first++
	}
	var n uint64
	for _, count := range h.counts[min(first, len(h.counts)):] {
		n += count
	}
	return n
}

// Bound is [Histogram.Quantile] rounded up to a bound between two buckets.
func (h Histogram) Bound(q float64) time.Duration {
	d := h.Quantile(q)
	low, high := bucketBounds(bucketOf(d))
	if d == low {
		return low
	}
	return high
}

// Plus returns the histogram of all durations of h and o.
func (h Histogram) Plus(o Histogram) Histogram {
	if o.count == 0 {
		return h
	}
	sum := h.clone()
	sum.add(o)
	return sum
}

// add adds all durations of o to h.
func (h *Histogram) add(o Histogram) {
	if h.counts == nil {
		h.counts = make([]uint64, maxBuckets)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.count += o.count
	h.max = max(h.max, o.max)
}

// reset empties h, and keeps its memory.
func (h *Histogram) reset() {
	clear(h.counts)
	h.count, h.max = 0, 0
}

// Minus returns the histogram of the durations that were added to earlier to get
// h. What doesn't stand in h counts as 0 rather than below.
func (h Histogram) Minus(earlier Histogram) Histogram {
	if earlier.count == 0 {
		return h
	}
	rest := h.clone()
	rest.count, rest.max = 0, 0
	for i, n := range rest.counts {
		if i < len(earlier.counts) {
			n -= min(n, earlier.counts[i])
			rest.counts[i] = n
		}
		rest.count += n
		if n > 0 {
			_, high := bucketBounds(i)
			rest.max = min(high, h.max)
		}
	}
	return rest
}

// clone returns a histogram that shares no memory with h.
func (h Histogram) clone() Histogram {
	h.counts = append([]uint64(nil), h.counts...)
	return h
}

func bucketOf(d time.Duration) int {
	u := min(uint64(d), 1<<topBits-1) >> unitBits
	if u < steps {
		return int(u)
	}
	shift := bits.Len64(u) - stepBits - 1
	return shift*steps + int(u>>shift)
}

// bucketBounds returns the least duration of a bucket and that of the next one.
func bucketBounds(i int) (low, high time.Duration) {
	shift := max(i/steps-1, 0)
	return time.Duration(i-shift*steps) << (shift + unitBits), time.Duration(i-shift*steps+1) << (shift + unitBits)
}

type histogramJSON struct {
	Max     time.Duration `json:"max"`
	Buckets []uint64      `json:"buckets"`
}

// MarshalJSON writes the form described at [Histogram].
func (h Histogram) MarshalJSON() ([]byte, error) {
	j := histogramJSON{Max: h.max, Buckets: []uint64{}}
	for i, n := range h.counts {
		if n > 0 {
			j.Buckets = append(j.Buckets, uint64(i), n)
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the form described at [Histogram].
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	if len(j.Buckets)%2 != 0 {
		return errors.New("histogram: a bucket without its count")
	}
	*h = Histogram{max: j.Max}
	for i := 0; i < len(j.Buckets); i += 2 {
		bucket, n := j.Buckets[i], j.Buckets[i+1]
		if bucket >= maxBuckets {
			return fmt.Errorf("histogram: there is no bucket %d", bucket)
		}
		if h.counts == nil {
			h.counts = make([]uint64, maxBuckets)
		}
		h.counts[bucket] += n
		h.count += n
	}
	return nil
}
