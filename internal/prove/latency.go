package prove

import (
	"math/bits"
	"time"
)

// latencies is a log-linear histogram of durations: exact to 1 µs below 64 µs,
// then 32 buckets for each power of two, so that a quantile is at most 1/32 too
// high, up to 2^39 µs, six days.
type latencies struct {
	count   uint64
	max     time.Duration
	buckets [64 + 34*32]uint64
}

func (l *latencies) add(d time.Duration) {
	l.count++
	l.max = max(l.max, d)
	l.buckets[bucketOf(d)]++
}

// quantile is an upper bound of the duration within which the share q (0 to 1)
// of all lie; 0 when there are none.
func (l *latencies) quantile(q float64) time.Duration {
	if l.count == 0 {
		return 0
	}
	rank := max(1, uint64(q*float64(l.count)+0.5))
	var seen uint64
	for i, n := range l.buckets {
		if seen += n; seen >= rank {
			return min(l.max, bucketEnd(i))
		}
	}
	return l.max
}

func bucketOf(d time.Duration) int {
	us := uint64(max(0, d/time.Microsecond))
	if us < 64 {
		return int(us)
	}
	shift := bits.Len64(us) - 6 // us>>shift is 32 to 63
	return min(len(latencies{}.buckets)-1, 64+(shift-1)*32+int(us>>shift)-32)
}

// bucketEnd is the first duration above bucket i.
func bucketEnd(i int) time.Duration {
	if i < 64 {
		return time.Duration(i+1) * time.Microsecond
	}
	shift := (i-64)/32 + 1
	return time.Duration((i-64)%32+33) << shift * time.Microsecond
}
