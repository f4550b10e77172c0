package proxy

import (
	"testing"
	"time"
)

func TestReleaseStatsMinus(t *testing.T) {
	a := &account{release: "r1"}
	end := func(o outcome) { a.refuse(o) }
	for _, o := range []outcome{unavailable, broken, clientGone} {
		end(o)
	}
	a.stats.Accepted++
	a.count(answered, 204, time.Second)
	before := a.snapshot(0)
	for _, o := range []outcome{unavailable, connectFailed, connectFailed, broken, timedOut, truncated, cut, clientGone} {
		end(o)
	}
	a.stats.Accepted++
	a.count(answered, 599, time.Millisecond)
	got := a.snapshot(0).Minus(before)
	want := Failures{Unavailable: 1, Connect: 2, Broken: 1, Timeout: 1, Truncated: 1, Cut: 1}
	if got.Failed != want || got.Accepted != 9 || got.ClientGone != 1 || got.Answered != [6]uint64{5: 1} || got.Latency.Count() != 1 {
		t.Errorf("%+v", got)
	}
	if back := before.Failed.Plus(got.Failed); back != a.snapshot(0).Failed {
		t.Errorf("before and the rest are %+v, want %+v", back, a.snapshot(0).Failed)
	}
	if before.Latency.Count() != 1 || before.Latency.Max() != time.Second {
		t.Errorf("a snapshot changes: %+v", before)
	}
	addsUp(t, Stats{Services: []ServiceStats{{Releases: []ReleaseStats{got, before, a.snapshot(0)}}}})
}
