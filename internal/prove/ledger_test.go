package prove

import (
	"fmt"
	"log/slog"
	"reflect"
	"testing"
	"time"
)

func TestBetween(t *testing.T) {
	start := time.Now()
	l := newLedger(0, 5, slog.New(slog.DiscardHandler))
	l.begin(start)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, r := range []struct {
		release string
		ms      int
	}{
		{"r1", 10}, {"r1", 20}, {"r1", 120}, {"r2", 125}, {"r1", 124}, {"r2", 190}, {"r2", 500}, {"r1", 900},
	} {
		l.sent()
		l.ended(Result{Outcome: OK, Kind: "get", Release: r.release, Status: 200, Whole: true, Started: at(r.ms)})
	}
	for _, c := range []struct {
		from, to int // to 0 is no end
		want     map[string]uint64
	}{
		{-1, 0, map[string]uint64{"r1": 5, "r2": 3}},
		{15, 0, map[string]uint64{"r1": 4, "r2": 3}}, // 1 of the first tick, for sure
		{124, 0, map[string]uint64{"r1": 1, "r2": 3}},
		{124, 900, map[string]uint64{"r2": 3}},
		{124, 901, map[string]uint64{"r1": 1, "r2": 3}},
		{125, 0, map[string]uint64{"r1": 1, "r2": 2}},
		{200, 500, map[string]uint64{}},
		{900, 0, map[string]uint64{}},
	} {
		to := time.Time{}
		if c.to != 0 {
			to = at(c.to)
		}
		if got := l.between(at(c.from), to); !reflect.DeepEqual(got, c.want) {
			t.Errorf("between %d and %d ms: %v, want %v", c.from, c.to, got, c.want)
		}
	}
	// Another process's clock has no monotonic part.
	if got := l.between(at(124).Round(0), at(890).Round(0)); got["r1"] != 0 || got["r2"] == 0 {
		t.Errorf("by the wall clock: %v", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	start := time.Now()
	l := newLedger(0, 5, slog.New(slog.DiscardHandler))
	l.begin(start)
	for i := range 200_000 {
		l.sent()
		l.ended(Result{
			Outcome: Wrong, Cause: "id", Err: mismatch("x"), Kind: "get", Release: fmt.Sprintf("r%d", i), Status: 200, Whole: true,
			Started: start.Add(time.Duration(i%1000) * time.Microsecond),
		})
	}
	r := l.report(start)
	checkSums(t, r)
	if len(r.Releases) != maxReleases+1 || len(r.Failures) != 5 || len(l.spans) > 10*(maxReleases+1) {
		t.Errorf("%d releases, %d failures, %d spans", len(r.Releases), len(r.Failures), len(l.spans))
	}
}

func TestMaxRequests(t *testing.T) {
	l := newLedger(2, 5, slog.New(slog.DiscardHandler))
	if !l.sent() || !l.sent() || l.sent() {
		t.Error("not exactly 2")
	}
	l.unsent()
	if !l.sent() || l.sent() {
		t.Error("what was not sent is still counted")
	}
}
