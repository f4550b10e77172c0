package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// writerCount is how many clients writers has; as each waits for its answer, no
// more requests than that can be held.
const writerCount = 6

// ledger is a stage on which examples/ledger is stable, with clients that write
// into it.
func ledger(t *testing.T) (*stage, scribes) {
	t.Helper()
	s := newStage(t).serve()
	s.deploy(ledgerSpec{}.on(s), 0)
	l := writers(s).(scribes)
	l.answersFrom("r1", time.Time{})
	return s, l
}

// waited fails unless requests were held and all of them went on.
func (r receipt) waited(t *testing.T, what string) {
	t.Helper()
	r.adds(t, what)
	if h := r.Held; h.Total == 0 || h.LetGo != h.Total || h.Longest <= 0 || r.Total.Lost > 0 {
		t.Errorf("%s: held: %+v, lost %d", what, h, r.Total.Lost)
	}
}

// allHeld waits until every client's request is held; daemon or not, the clients
// know that they have no answer.
func (l *loadRun) allHeld(what string) {
	l.t.Helper()
	eventually(l.t, "all clients wait, "+what, func() bool { return l.gen.Report().InFlight == writerCount })
}

// TestHeldRequestsGoOn replaces a service that must never run twice: whatever
// becomes of the candidate, users see a delay and no error.
func TestHeldRequestsGoOn(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	for _, test := range []struct {
		what, id, stable string
		spec             ledgerSpec
		code             int
	}{
		{"good, but slow", "d2", "r2", ledgerSpec{behaviour: "slow-start=500ms"}, 0},
		{"not ready in time", "d3", "r2", ledgerSpec{behaviour: "never-ready", ready: 500 * time.Millisecond}, 2},
		{"crashes at start", "d4", "r2", ledgerSpec{behaviour: "crash"}, 2},
	} {
		s.deploy(test.spec.on(s), test.code)
		l.answersFrom(test.stable, time.Now())
		s.settled(test.stable)
		r := s.receipt(test.id)
		r.waited(t, test.what)
		for _, a := range r.Releases {
			if test.code != 0 && a.Release != test.stable && a.Accepted > 0 {
				t.Errorf("%s: requests reached the candidate: %+v", test.what, a)
			}
		}
		// The receipt of a person says it, too.
		s.contains(s.expect(0, "receipt", "-s", "web", test.id), "held: ", "the longest for ", " 0 expired, 0 client gone", "lost 0 of ")
		// The clients have measured themselves how long an answer took.
		if longest := l.gen.Report().Latency.Max; longest < r.Held.Longest {
			t.Errorf("%s: a request was held for %s, but no answer took longer than %s", test.what, r.Held.Longest, longest)
		}
	}
	l.leave()
	s.neverTwice()
}

// TestAbortWhileRequestsAreHeld starts stable again, which answers them.
func TestAbortWhileRequestsAreHeld(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	done := s.deployBeside(ledgerSpec{behaviour: "never-ready", ready: time.Minute}.on(s))
	eventually(t, "all clients wait while the candidate starts", func() bool {
		return s.runs("start") && s.status().Traffic.Held.Now == writerCount
	})
	s.contains(s.expect(0, "status"), "new requests are held since", "6 held")
	s.expect(0, "abort", "-s", "web")
	if res := <-done; res.Code != 3 {
		t.Errorf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	l.answersFrom("r1", time.Now())
	s.settled("r1")
	r := s.receipt("d2")
	r.waited(t, "aborted")
	if r.Held.Total < writerCount {
		t.Errorf("%d clients waited, the receipt has %+v", writerCount, r.Held)
	}
	l.leave()
	s.neverTwice()
}

// runs says whether the deployment is at a step of that kind.
func (s *stage) runs(kind string) bool {
	for _, st := range s.status().Deployment.Steps {
		if st.Kind == kind && st.Status == "running" {
			return true
		}
	}
	return false
}

// diesBeforeStart deploys with a daemon that is killed when stable has ended and the
// candidate is to be started.
func (s *stage) diesBeforeStart(file string) {
	s.t.Helper()
	var point string
	for i, st := range s.plan(file) {
		if st.Kind == "start" {
			point = fmt.Sprintf("web/d2/intended/%d", i)
		}
	}
	if err := s.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	<-s.Ended()
	s.Env = []string{"SEGUE_CRASH_AFTER=" + point}
	s.serve()
	s.Run(s.t.Context(), "deploy", "-f", file, "--wait=false")
	select {
	case <-s.Ended():
	case <-time.After(time.Minute):
		s.t.Fatalf("the daemon did not come to %s: %+v", point, s.status())
	}
	s.Env = nil
}

// TestHeldWithoutADaemon kills the daemon between the stop of stable and the start
// of the candidate: no instance runs and no daemon, and requests wait for both.
func TestHeldWithoutADaemon(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	file := s.write("segue.yaml", ledgerSpec{}.on(s).String(), 0o644)
	s.diesBeforeStart(file)
	l.allHeld("without a daemon")
	if left := s.Processes(); len(left) != 1 {
		t.Errorf("more than the proxy runs: %v", left)
	}
	s.serve()
	s.ended("d2", "promoted")
	l.answersFrom("r2", time.Now())
	r := s.receipt("d2")
	r.waited(t, "without a daemon")
	if r.Held.Total < writerCount {
		t.Errorf("%d clients waited, the receipt has %+v", writerCount, r.Held)
	}
	s.settled("r2")
	l.leave()
	s.neverTwice()
}

// TestExclusiveDiesUnderTraffic kills the candidate in its bake: what was answered
// by then is kept, and stable goes on with it.
func TestExclusiveDiesUnderTraffic(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	done := s.deployBeside(ledgerSpec{bake: time.Minute}.on(s))
	l.answersFrom("r2", time.Time{})
	var pid int
	for _, r := range s.status().Releases {
		if r.ID == "r2" {
			pid = r.Instances[0].Pid
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if res := <-done; res.Code != 2 {
		t.Errorf("exit code %d: %s%s", res.Code, res.Stdout, res.Stderr)
	} else {
		s.contains(res, "failed and taken back")
	}
	l.answersFrom("r1", time.Now())
	s.settled("r1")
	s.receipt("d2").adds(t, "d2")
	// Until the death is noticed, requests find nobody: they may be lost, but
	// nothing that was answered may.
	l.end()
	l.intact()
	s.neverTwice()
}

// TestHoldIsFull answers with 503 what is one too many, and says so: the clients and
// the receipt count the same. Even then no write is lost that was answered.
func TestHoldIsFull(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	s.deploy(ledgerSpec{behaviour: "slow-start=1s", hold: "time: 90s, requests: 2, bytes: 16MiB"}.on(s), 0)
	l.answersFrom("r2", time.Now())
	r := s.receipt("d2")
	if h := r.Held; h.LetGo == 0 || h.Total > 2 || h.Expired > 0 {
		t.Errorf("held: %+v", h)
	}
	l.refusedAs(r)
	s.neverTwice()
}

// TestHoldTakesTooLong has no daemon, and no instance, for longer than its requests
// may wait: they are answered with 503, and the receipt says for how long they waited.
func TestHoldTakesTooLong(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	spec := ledgerSpec{hold: "time: 1s, requests: 1000, bytes: 16MiB", ready: 900 * time.Millisecond}.on(s)
	file := s.write("segue.yaml", spec.String(), 0o644)
	s.diesBeforeStart(file)
	eventually(t, "requests that have waited for too long", func() bool { return l.gen.Report().Lost > 0 })
	s.serve()
	eventually(t, "the end", func() bool { return s.status().Deployment.final() })
	stable := s.status().Stable
	l.answersFrom(stable, time.Now())
	s.settled(stable)
	r := s.receipt("d2")
	if h := r.Held; h.Total == 0 || h.Longest <= 0 {
		t.Errorf("held: %+v", h)
	}
	l.refusedAs(r)
	s.neverTwice()
}

// refusedAs ends the load and fails unless Segue refused some requests, and as many
// as the receipt says.
func (u scribes) refusedAs(r receipt) {
	u.t.Helper()
	report := u.end()
	r.adds(u.t, "refused")
	if r.Total.Lost == 0 || r.Total.Lost != report.Lost || r.Total.FailedBySegue != report.Lost || report.Wrong+report.ServiceError > 0 {
		u.t.Errorf("the receipt has %+v lost\n%s", r.Total, report)
	}
	for _, f := range report.Failures {
		if f.Status != 503 {
			u.t.Errorf("%s", f)
		}
	}
	u.intact()
}

// intact fails unless every write that was answered is there, and none twice.
func (u scribes) intact() {
	u.t.Helper()
	audit, err := u.book.Audit(u.t.Context(), u.address)
	if err != nil {
		u.t.Fatal(err)
	}
	if !audit.Good() || audit.Answered == 0 {
		u.t.Errorf("%s", audit)
	}
}

// TestHoldByHand lets requests wait until somebody lets them go, also over a
// deployment.
func TestHoldByHand(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{instances: 1}, 0)
	l := s.load(prove.Config{KeepAlive: 4, Fresh: 2, Rate: 40, Timeout: 90 * time.Second})
	l.answersFrom("r1", time.Time{})
	s.contains(s.expect(0, "hold", "-s", "web", "--for", "80s"), "new requests of web are held until")
	l.allHeld("by hand")
	s.contains(s.expect(0, "status"), "new requests wait", "6 held")
	s.deploy(release{instances: 1}, 0)
	if st, report := s.status(), l.gen.Report(); st.Stable != "r2" || st.Traffic.Held.Now != writerCount || report.InFlight != writerCount {
		t.Errorf("the deployment let go what was held by hand: %+v, %s", st.Traffic.Held, report)
	}
	s.contains(s.expect(0, "release", "-s", "web"), "the requests of web are let go")
	l.answersFrom("r2", time.Now())
	if h := s.status().Traffic.Held; h.LetGo != writerCount || h.Total != writerCount {
		t.Errorf("held: %+v", h)
	}
	s.settled("r2")
	l.nothingLost()
}

// TestHoldByHandEnds at its limit, with a daemon or without.
func TestHoldByHandEnds(t *testing.T) {
	t.Parallel()
	s, l := ledger(t)
	s.expect(0, "hold", "-s", "web", "--for", "600ms")
	l.answersFrom("r1", time.Now())
	eventually(t, "an end of the hold", func() bool { return !strings.Contains(s.expect(0, "status").Stdout, "new requests wait") })
	first := s.status().Traffic.Held
	if first.Total == 0 || first.LetGo != first.Total {
		t.Errorf("held: %+v", first)
	}

	s.expect(0, "hold", "-s", "web", "--for", "2s")
	if err := s.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	l.answersFrom("r1", time.Now())
	s.serve()
	eventually(t, "an end of the hold", func() bool { return !strings.Contains(s.expect(0, "status").Stdout, "new requests wait") })
	if h := s.status().Traffic.Held; h.Total == first.Total || h.LetGo != h.Total {
		t.Errorf("held: %+v, before that %+v", h, first)
	}
	l.leave()
}
