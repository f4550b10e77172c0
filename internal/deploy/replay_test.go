package deploy

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/journal"
)

// A receipt's counts are true whatever the order in which the measurements were
// journalled.
func TestReceiptOfMeasurementsOutOfOrder(t *testing.T) {
	at := func(moment Moment, epoch string, second int, answered uint64) Measured {
		return measurement(moment, epoch, second, statsOf("r1", answered, 0, 0, 0, time.Millisecond))
	}
	for _, test := range []struct {
		name                    string
		measured                []Measured
		accepted, during, after uint64
		unknown                 int
	}{
		{"a sample after the end", []Measured{
			at(MomentBegan, "a", 0, 1000), at(MomentFinished, "a", 10, 1500), at(MomentDuring, "a", 9, 1490),
		}, 500, 500, 0, 0},
		{"a sample after the shift", []Measured{
			at(MomentBegan, "a", 0, 1000), at(MomentShifted, "a", 7, 1400), at(MomentDuring, "a", 5, 1300), at(MomentFinished, "a", 10, 1500),
		}, 500, 400, 100, 0},
		{"one of the old epoch between two of the new", []Measured{
			at(MomentBegan, "a", 0, 1000), at(MomentShifted, "b", 7, 10), at(MomentDuring, "a", 5, 1300), at(MomentFinished, "b", 10, 100),
		}, 400, 310, 90, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Deployment{ID: "d2", Candidate: "r2", Stable: "r1", Phase: PhasePromoted, Began: time.Unix(0, 0)}
			r := receiptOf("web", d, test.measured)
			identity(t, r.Total)
			if r.Total.Accepted != test.accepted || r.Latency.During.Count != test.during || r.Latency.After.Count != test.after {
				t.Errorf("accepted %d, during %d, after %d", r.Total.Accepted, r.Latency.During.Count, r.Latency.After.Count)
			}
			if len(r.Unknown) != test.unknown {
				t.Errorf("unknown: %q", r.Unknown)
			}
		})
	}
}

// history is what a service's loop journals over n deployments, of which some
// fail and some are aborted, and the state that it comes to.
func history(t *testing.T, n int) (s State, events []Event) {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	journalled := func(deployment int, body Body) {
		now = now.Add(time.Second)
		ev := Event{ID: int64(len(events) + 1), At: now, Service: "web", Deployment: deployment, Body: body}
		s, events = s.apply(ev), append(events, ev)
	}
	sp := testSpec(t, "")
	for number := 1; number <= n; number++ {
		release := s.nextRelease()
		journalled(0, Released{Release: release, Artifact: "sha256:" + release, Spec: *sp})
		journalled(number, Requested{Candidate: release})
		for done := false; !done; {
			switch m := decide(&s, now).(type) {
			case moveBegin:
				journalled(number, Began{Stable: s.Stable, Plan: plan(&s, s.Release(release))})
			case moveIntend:
				journalled(number, Intended{Step: m.step})
			case moveDo:
				switch kind := m.d.Steps[m.step].Kind; {
				case kind == StepBake && number%3 == 0:
					journalled(number, Failed{Step: m.step, Reason: "too many errors"})
				case kind == StepVerify && number%5 == 0:
					journalled(number, AbortRequested{Actor: Actor{By: "tester"}})
				default:
					journalled(number, Did{Step: m.step})
				}
			case moveTurnBack:
				journalled(number, TurnedBack{Plan: planBack(&s, m.d), Reason: m.reason})
			case moveFinish:
				journalled(number, Finished{Phase: m.phase})
			case moveRetire:
				journalled(0, Retiring{Release: m.release})
				journalled(0, Retired{Release: m.release})
			case moveWait:
				done = true
			}
		}
	}
	return s, events
}

// The journal of a long life gives the state that the service had.
func TestReplayOfManyDeployments(t *testing.T) {
	const deployments = 300
	want, events := history(t, deployments)
	var records []journal.Record
	for _, ev := range events {
		r, err := ev.record()
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	j, err := journal.Open(t.Context(), filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
	e := New(Config{Journal: j, Logger: slog.New(slog.DiscardHandler)})
	if err := e.replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := e.stateOf("web")
	if normal(t, got) != normal(t, want) {
		t.Error("the replayed state differs from the one that was journalled")
	}
	phases := map[Phase]int{}
	for _, d := range got.Deployments {
		phases[d.Phase]++
	}
	if phases[PhasePromoted] != 160 || phases[PhaseFailed] != 80 || phases[PhaseAborted] != 60 {
		t.Errorf("the deployments ended %v", phases)
	}
}

// An event leaves the state as it was to which it is applied: others may be
// reading that.
func TestApplyChangesNothingInPlace(t *testing.T) {
	_, events := history(t, 6)
	var s State
	for _, ev := range events {
		before := normal(t, s)
		next := s.apply(ev)
		if normal(t, s) != before {
			t.Fatalf("%s of d%d changed the state that came before it", ev.Kind(), ev.Deployment)
		}
		s = next
	}
}
