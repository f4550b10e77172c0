package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// TestBadReleases deploys every sort of bad release under load: stable loses
// nothing, and the exit code and the message say what happened.
func TestBadReleases(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		bad  release
		says []string
		// served: it gets traffic before it is found out.
		served bool
	}{
		{"never healthy", release{behaviour: "unhealthy", deadline: 3 * time.Second}, []string{"not ready", "/healthz"}, false},
		{"exits at once", release{behaviour: "crash"}, []string{"exited with code 1", "its last lines"}, false},
		{"exits after 5 s", release{behaviour: "crash-after=5s", bake: 20 * time.Second}, []string{"died under traffic", "its last lines"}, true},
		{"fails its smoke test", release{behaviour: "smoke-fails"}, []string{"GET /smoke: 500, want 2xx"}, false},
		{"hangs", release{behaviour: "hang", deadline: 3 * time.Second}, []string{"not ready"}, false},
		{"fails in the bake", release{behaviour: "errors=40", bake: 30 * time.Second}, []string{"answers were errors", "at most 10"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).serve()
			s.deploy(release{version: "1"}, 0)
			l := s.load(prove.Config{Rate: 100})
			l.answersFrom("r1", time.Time{})
			res := s.deploy(test.bad, 2)
			after := time.Now()
			s.contains(res, append(test.says, "failed and taken back")...)
			l.answersFrom("r1", after)
			report := l.end()
			lost := report.Lost + report.Wrong
			if test.served {
				// What was in flight on an instance that died can't be saved; what came
				// when all had died can.
				if f := s.receipt("d2").Total.Failed; f.Connect+f.Unavailable > 0 {
					t.Errorf("nobody answered for the dead: %+v", f)
				}
				if report.ServiceError+lost == 0 && test.bad.behaviour == "errors=40" {
					t.Error("it never had traffic")
				}
				t.Logf("%s: %s", test.name, report.Counts)
			} else if lost+report.ServiceError > 0 {
				t.Errorf("%s\n%v", report, report.Failures)
			}
			if n := l.gen.After(after)["r2"]; n > 0 {
				t.Errorf("%d requests that began after the end were answered by r2", n)
			}
			st := s.status()
			if st.Stable != "r1" || st.Deployment.Phase != "failed" || len(st.Releases) != 1 {
				t.Errorf("status: %+v", st)
			}
		})
	}
}

// silent is a segue.yaml of a service that says it is well and listens nowhere.
type silent struct{}

func (silent) String() string {
	return `service: web
artifact: artifact
command: [sleep, "600"]
health: {command: ["true"], interval: 100ms}
strategy: {blue-green: {bake: 1m}}
guard: {max_errors: 10%, min_requests: 20}
`
}

// TestNobodyReachesTheCandidate: stable answers for it, and it is taken back all the same.
func TestNobodyReachesTheCandidate(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{Rate: 100})
	l.answersFrom("r1", time.Time{})
	s.contains(s.deploy(silent{}, 2), "were missing", "failed and taken back")
	if report := l.end(); report.Lost+report.Wrong+report.ServiceError > 0 {
		t.Errorf("%s\n%v", report, report.Failures)
	}
	r := s.receipt("d2")
	r.adds(t, "d2")
	for _, a := range r.Releases {
		if a.Release == "r2" && (a.Accepted == 0 || a.Accepted != a.Rerouted) {
			t.Errorf("r2: %+v", a)
		}
	}
}

// TestListensLate is slow, not bad.
func TestListensLate(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{Rate: 100})
	l.answersFrom("r1", time.Time{})
	s.deploy(release{behaviour: "listen-late=3s"}, 0)
	l.nothingLost()
}

// TestFirstReleaseIsBad leaves nothing behind, and the next one comes up.
func TestFirstReleaseIsBad(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	res := s.deploy(release{behaviour: "crash"}, 2)
	s.contains(res, "exited with code 1")
	if st := s.status(); len(st.Releases) != 0 || st.Stable != "" {
		t.Errorf("status: %+v", st)
	}
	s.deploy(release{version: "2"}, 0)
	if code, body := s.get("/"); code != 200 || !strings.Contains(body, "r2") {
		t.Errorf("%d %s", code, body)
	}
}

// TestAbortUnderLoad gives everything back in the middle of a bake.
func TestAbortUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})
	file := s.write("segue.yaml", release{version: "2", bake: 5 * time.Minute}.String(), 0o644)
	s.contains(s.expect(4, "deploy", "-f", file, "--wait=false"), "d2 of web: r2 is on its way in")
	l.answersFrom("r2", time.Now())
	s.contains(s.expect(1, "deploy", "-f", file), "d2 of web (to r2) is under way")
	s.contains(s.expect(0, "abort", "-s", "web", "--reason", "wrong branch"), "aborting d2 of web")
	eventually(t, "the abort", func() bool { return s.status().Deployment.Phase == "aborted" })
	after := time.Now()
	l.answersFrom("r1", after)
	l.nothingLost()
	if n := l.gen.After(after)["r2"]; n > 0 {
		t.Errorf("%d requests that began after the abort were answered by r2", n)
	}
	s.contains(s.expect(0, "history", "-s", "web"), "wrong branch")
	// Superseding one that is under way ends it with exit code 3 for who waits.
	codes := make(chan int)
	go func() { codes <- s.Run(t.Context(), "deploy", "-f", file).Code }()
	l2 := s.load(prove.Config{Rate: 50})
	l2.answersFrom("r3", time.Now())
	file2 := s.write("segue2.yaml", release{version: "4"}.String(), 0o644)
	s.expect(0, "deploy", "-f", file2, "--supersede")
	if code := <-codes; code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	l2.nothingLost()
}
