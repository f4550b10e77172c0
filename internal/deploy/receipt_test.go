package deploy

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

// measurement is what a proxy counted for r1 and r2 at a second.
func measurement(moment Moment, epoch string, second int, releases ...proxy.ReleaseStats) Measured {
	return Measured{
		Moment: moment, Epoch: epoch, TakenAt: time.Unix(int64(second), 0), Age: time.Duration(second) * time.Second,
		Stats: proxy.ServiceStats{Name: "web", Releases: releases},
	}
}

func statsOf(id string, ok, bad, cut uint64, flight int64, latency time.Duration) proxy.ReleaseStats {
	r := proxy.ReleaseStats{ID: id, Accepted: ok + bad + cut + uint64(flight), InFlight: flight}
	r.Answered[2], r.Answered[5], r.Failed.Cut = ok, bad, cut
	for range ok + bad {
		r.Latency.Observe(latency)
	}
	return r
}

// identity is what must hold in every row of every receipt.
func identity(t *testing.T, c ReleaseReceipt) {
	t.Helper()
	var answered uint64
	for _, n := range c.Answered {
		answered += n
	}
	in := int64(c.Accepted) + c.Carried
	out := int64(answered+c.Lost+c.ClientGone+c.Rerouted+c.Shed) + c.InFlight
	if in != out {
		t.Errorf("%q: accepted %d and carried %d, but %d are accounted for: %+v", c.Release, c.Accepted, c.Carried, out, c)
	}
}

// TestReceiptOverAClockJump: somebody sets the time of day back between two measurements.
func TestReceiptOverAClockJump(t *testing.T) {
	before := measurement(MomentBefore, "a", 5, statsOf("r1", 100, 0, 0, 0, time.Millisecond))
	before.TakenAt = before.TakenAt.Add(time.Hour)
	r := receiptOf("web", Deployment{ID: "d2", Candidate: "r2", Stable: "r1", Phase: PhasePromoted, Began: time.Unix(10, 0)}, []Measured{
		before,
		measurement(MomentBegan, "a", 10, statsOf("r1", 150, 0, 0, 4, time.Millisecond)),
		measurement(MomentFinished, "a", 20, statsOf("r1", 160, 0, 0, 1, time.Millisecond)),
	})
	if r.Total.Accepted != 7 || r.Total.Answered[2] != 10 || r.Total.Carried != 4 || r.Total.InFlight != 1 {
		t.Errorf("%+v", r.Total)
	}
	identity(t, r.Total)
}

func TestReceipt(t *testing.T) {
	d := Deployment{ID: "d2", Candidate: "r2", Stable: "r1", Phase: PhasePromoted, Began: time.Unix(10, 0), Steps: []StepState{
		{Step: Step{Kind: StepDrain, Release: "r1"}, Outcome: Outcome{Drain: &proxy.DrainResult{InFlight: 3, Finished: 2, Cut: 1}}},
	}}
	r := receiptOf("web", d, []Measured{
		measurement(MomentBefore, "a", 0, statsOf("r1", 100, 0, 0, 0, time.Millisecond)),
		measurement(MomentBegan, "a", 10, statsOf("r1", 150, 1, 0, 4, time.Millisecond)),
		measurement(MomentShifted, "a", 12, statsOf("r1", 180, 1, 0, 3, time.Millisecond), statsOf("r2", 1, 0, 0, 1, time.Millisecond)),
		measurement(MomentDuring, "a", 15, statsOf("r1", 180, 1, 0, 3, time.Millisecond), statsOf("r2", 50, 2, 0, 1, time.Millisecond)),
		measurement(MomentFinished, "a", 20, statsOf("r1", 182, 1, 1, 0, time.Millisecond), statsOf("r2", 90, 2, 0, 5, time.Millisecond)),
	})
	if len(r.Unknown) > 0 || len(r.Releases) != 2 || len(r.Drains) != 1 {
		t.Fatalf("%+v", r)
	}
	if r.CountedFrom != time.Unix(10, 0) || r.CountedTo != time.Unix(20, 0) {
		t.Errorf("counted from %s to %s", r.CountedFrom, r.CountedTo)
	}
	r1, r2 := r.Releases[0], r.Releases[1]
	for _, c := range []ReleaseReceipt{r1, r2, r.Total} {
		identity(t, c)
	}
	if r1.Carried != 4 || r1.Accepted != 29 || r1.Answered[2] != 32 || r1.Lost != 1 || r1.FailedBySegue != 1 || r1.InFlight != 0 {
		t.Errorf("r1: %+v", r1)
	}
	if r2.Accepted != 97 || r2.Answered[5] != 2 || r2.FailedByService != 2 || r2.Lost != 0 || r2.InFlight != 5 {
		t.Errorf("r2: %+v", r2)
	}
	if r.Total.Accepted != 126 || r.Total.Lost != 1 {
		t.Errorf("total: %+v", r.Total)
	}
	if l := r.Latency; l.Before.Count != 51 || l.During.Count != 31 || l.After.Count != 93 {
		t.Errorf("latency: %+v", l)
	}
}

func TestReceiptOfHoldAndMirror(t *testing.T) {
	held := func(second int, epoch string, h proxy.HeldStats, m proxy.MirrorStats) Measured {
		ms := measurement(MomentDuring, epoch, second)
		ms.Stats.Held, ms.Stats.Mirror = h, m
		return ms
	}
	d := Deployment{ID: "d2", Candidate: "r2", Phase: PhasePromoted, Began: time.Unix(10, 0), Finished: time.Unix(30, 0)}
	began := held(10, "a", proxy.HeldStats{Total: 7, LetGo: 7, Longest: time.Hour}, proxy.MirrorStats{Sent: 5, Same: 5})
	began.Moment = MomentBegan
	r := receiptOf("web", d, []Measured{
		began,
		// Nothing of the hour is of this window.
		held(11, "a", proxy.HeldStats{Total: 7, LetGo: 7, Longest: time.Hour}, proxy.MirrorStats{Sent: 6, Same: 5}),
		held(20, "a", proxy.HeldStats{Now: 2, Total: 17, LetGo: 11, Expired: 3, Gone: 1, Longest: 4 * time.Second}, proxy.MirrorStats{Sent: 10, Same: 7, Different: 1, Failed: 1, Uncompared: 1, Dropped: 2}),
		held(30, "b", proxy.HeldStats{Now: 1, Total: 2, LetGo: 1, Longest: time.Second}, proxy.MirrorStats{Sent: 1, Same: 1}),
	})
	if want := (proxy.HeldStats{Now: 1, Total: 12, LetGo: 5, Expired: 3, Gone: 1, Longest: 4 * time.Second}); r.Held != want {
		t.Errorf("held %+v, want %+v", r.Held, want)
	}
	if want := (proxy.MirrorStats{Sent: 6, Same: 3, Different: 1, Failed: 1, Uncompared: 1, Dropped: 2}); r.Mirror != want {
		t.Errorf("mirror %+v, want %+v", r.Mirror, want)
	}
}

func TestReceiptOfShedRequests(t *testing.T) {
	shed := func(second int, ok, shed uint64) Measured {
		m := measurement(MomentDuring, "a", second, statsOf("r1", ok, 0, 0, 0, time.Millisecond))
		m.Stats.Releases[0].Accepted += shed
		m.Stats.Releases[0].Shed, m.Stats.Releases[0].RetryRefused = shed, shed/2
		m.Stats.Releases[0].Replayed = shed / 10
		m.Stats.Queued = proxy.HeldStats{Total: 2 * shed, LetGo: shed, Expired: shed, Longest: time.Second}
		return m
	}
	d := Deployment{ID: "d2", Candidate: "r2", Phase: PhasePromoted, Began: time.Unix(10, 0), Finished: time.Unix(30, 0)}
	began := shed(10, 100, 10)
	began.Moment = MomentBegan
	r := receiptOf("web", d, []Measured{began, shed(20, 150, 30), shed(30, 200, 40)})
	identity(t, r.Total)
	if r.Total.Shed != 30 || r.Total.RetryRefused != 15 || r.Total.Replayed != 3 || r.Total.Lost != 0 || r.Total.FailedBySegue != 0 {
		t.Errorf("total: %+v", r.Total)
	}
	if want := (proxy.HeldStats{Total: 60, LetGo: 30, Expired: 30, Longest: time.Second}); r.Queued != want {
		t.Errorf("queued %+v, want %+v", r.Queued, want)
	}
}

func TestReceiptOverAProxysDeath(t *testing.T) {
	d := Deployment{ID: "d2", Candidate: "r2", Phase: PhasePromoted, Began: time.Unix(10, 0)}
	r := receiptOf("web", d, []Measured{
		measurement(MomentBegan, "a", 10, statsOf("r1", 150, 0, 0, 4, time.Millisecond)),
		measurement(MomentDuring, "a", 15, statsOf("r1", 170, 0, 0, 2, time.Millisecond)),
		measurement(MomentFinished, "b", 20, statsOf("r2", 30, 0, 0, 0, time.Millisecond)),
	})
	if len(r.Unknown) != 1 || !strings.Contains(r.Unknown[0], "started anew") || !strings.Contains(r.Unknown[0], "2 requests were in flight") {
		t.Errorf("unknown: %q", r.Unknown)
	}
	if r.Total.Accepted != 18+30 || r.Latency.During.Count != 50 {
		t.Errorf("%+v", r)
	}
}

func TestReceiptWithoutAProxy(t *testing.T) {
	d := Deployment{ID: "d1", Candidate: "r1", Phase: PhaseFailed, Began: time.Unix(10, 0)}
	if r := receiptOf("web", d, nil); len(r.Unknown) != 1 || len(r.Releases) != 0 {
		t.Errorf("%+v", r)
	}
	// One that never had its turn has nothing to count.
	if r := receiptOf("web", Deployment{ID: "d1", Phase: PhaseAborted}, nil); len(r.Unknown) != 0 {
		t.Errorf("%+v", r)
	}
}
