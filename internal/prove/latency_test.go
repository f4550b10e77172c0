package prove

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantileIsAtMostOnePart32TooHigh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64Range(0, 1<<39-1).Draw(t, "us")
		d := time.Duration(us) * time.Microsecond
		end := bucketEnd(bucketOf(d))
		if end <= d || end-d > max(time.Microsecond, d/32+time.Microsecond) {
			t.Fatalf("%s falls below %s", d, end)
		}
	})
}

func TestQuantiles(t *testing.T) {
	var l latencies
	if l.quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 500, 0.99: 990, 1: 1000} {
		want *= time.Millisecond
		if got := l.quantile(q); got < want || got > want+want/32+time.Microsecond {
			t.Errorf("quantile %v is %s, want about %s", q, got, want)
		}
	}
	l.add(100 * 24 * time.Hour)
	l.add(-time.Second)
	if l.quantile(1) == 0 || l.max != 100*24*time.Hour {
		t.Errorf("max %s", l.max)
	}
}
