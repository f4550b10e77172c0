package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/analysis/prometheustest"
	"github.com/segue-deploy/segue/internal/prove"
)

// analysed is a release whose candidate is judged by an analysis alone.
type analysed struct {
	release
	steps, analysis string
}

func (a analysed) String() string {
	a.strategy = fmt.Sprintf("canary: {steps: [%s], analysis: {maturity: 500ms, warm_up: 500ms, %s}}", a.steps, a.analysis)
	return strings.Replace(a.release.String(), "guard: {max_errors: 10%", "guard: {max_errors: 100%", 1)
}

// TestAnalysisFindsBadReleases takes back releases that only a comparison can tell from a
// good one, and says how many of their requests failed until then.
func TestAnalysisFindsBadReleases(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{KeepAlive: 8, Fresh: 2, Rate: 300})
	steps := "weight: 20, bake: {max: 2m, early: true}"
	for i, c := range []struct{ behaviour, culprit, analysis string }{
		// Others make this machine slow, and a fresh instance first.
		{"errors=6", "errors", "latency: {factor: 0}"},
		{"slow=60ms", "latency", "latency: {factor: 3}"},
	} {
		bad := analysed{release{version: fmt.Sprint(i + 2), behaviour: c.behaviour}, steps, c.analysis}
		s.contains(s.deploy(bad, 2), "analysis: "+c.culprit, "failed and taken back")
		id := fmt.Sprintf("d%d", i+2)
		r := s.receipt(id)
		r.adds(t, id)
		if r.Total.Lost > 0 {
			t.Errorf("%s: requests were lost: %+v", c.behaviour, r.Total)
		}
		if r.Analysis == nil || r.Analysis.Verdict != "fail" || r.Analysis.Report.Culprit != c.culprit {
			t.Fatalf("%s: the analysis is %+v", c.behaviour, r.Analysis)
		}
		m := r.Analysis.Report.Metrics[0]
		if c.culprit == "errors" && (m.Candidate.Failed < 2 || m.Stable.Failed > 0 || m.Candidate.Failed > r.Total.FailedByService) {
			t.Errorf("%s: the analysis counts %+v, the receipt %+v", c.behaviour, m, r.Total)
		}
		t.Logf("%s: %s", c.behaviour, r.Analysis.Reason)
	}
	l.end()
}

// TestAnalysisLetsGoodReleasesPass deploys twenty good releases in a row under load.
func TestAnalysisLetsGoodReleasesPass(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "0"}, 0)
	l := s.load(prove.Config{KeepAlive: 8, Fresh: 2, Rate: 400})
	for i := range 20 {
		good := analysed{
			release{version: fmt.Sprint(i + 1), warm: time.Second}, "weight: 50, bake: {max: 2m, early: true}",
			// Ten times as long: that others make this machine slow is no matter here.
			"errors: {margin: 3%}, latency: {factor: 10}",
		}
		s.contains(s.deploy(good, 0), "the analysis says pass", "promoted")
	}
	l.nothingLost()
}

// TestAnalysisOfClients has one client whose requests all fail, whatever the release. It
// counts once, since the clients keep to their release.
func TestAnalysisOfClients(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	sticky := release{version: "1", more: "route: {sticky: {header: X-User}}\n"}
	s.deploy(sticky, 0)
	sticky.version = "2"
	file := s.write("segue.yaml", analysed{sticky, "weight: 50, bake: 10m", "latency: {factor: 0}"}.String(), 0o644)
	s.expect(4, "deploy", "-f", file, "--wait=false")
	s.standsAt("bake", 50)
	// A client of the candidate, by its name.
	broken := ""
	for i := 0; broken == ""; i++ {
		name := fmt.Sprintf("broken-%d", i)
		if s.meets(guest{header: http.Header{"X-User": {name}}}) == "r2" {
			broken = name
		}
	}
	client := http.Client{Timeout: 30 * time.Second}
	ask := func(user, path string) {
		req, err := http.NewRequest("GET", "http://"+s.Address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-User", user)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	const users = 60
	for i := range users {
		ask(broken, "/status/500")
		ask(fmt.Sprintf("user-%d", i), "/")
	}
	var found finding
	eventually(t, "the clients are judged", func() bool {
		if d := s.status().Deployment; d.final() {
			t.Fatalf("%s is %s: %s", d.ID, d.Phase, d.Reason)
		}
		if a := s.receipt("d2").Analysis; a != nil {
			found = *a
		}
		m := found.Report.Metrics
		return len(m) > 0 && m[0].Stable.Requests+m[0].Candidate.Requests >= users/2
	})
	if m := found.Report.Metrics[0]; found.Verdict == "fail" || m.Candidate.Failed+m.Stable.Failed > 1 {
		t.Errorf("the analysis says %s, and counts %+v", found.Verdict, m)
	}
	s.expect(0, "abort", "-s", "web")
	s.expect(3, "wait", "-s", "web", "d2")
	if r := s.receipt("d2"); r.Total.FailedByService < users/2 {
		t.Errorf("only %d requests failed: %+v", r.Total.FailedByService, r.Total)
	}
}

// TestAnalysisGoesOnAfterACrash kills the daemon in the middle of a bake. Nothing of what is
// known is lost, and what was counted meanwhile isn't either.
func TestAnalysisGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{KeepAlive: 8, Fresh: 2, Rate: 200})
	bad := analysed{release{version: "2", behaviour: "errors=2"}, "weight: 50, bake: {max: 3m}", "errors: {margin: 0.1%}, latency: {factor: 0}"}
	file := s.write("segue.yaml", bad.String(), 0o644)
	s.expect(4, "deploy", "-f", file, "--wait=false")
	s.standsAt("bake", 50)
	var before finding
	eventually(t, "evidence", func() bool {
		if d := s.status().Deployment; d.final() {
			t.Fatalf("%s is %s: %s", d.ID, d.Phase, d.Reason)
		}
		if a := s.receipt("d2").Analysis; a != nil {
			before = *a
		}
		return len(before.Report.Metrics) > 0 && before.Report.Metrics[0].Candidate.Requests > 0
	})
	if err := s.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	answered := l.gen.Report().Ended()
	eventually(t, "traffic without a daemon", func() bool { return l.gen.Report().Ended() > answered+200 })
	s.serve()
	eventually(t, "the verdict", func() bool { return s.status().Deployment.final() })
	l.end()
	r := s.receipt("d2")
	if r.Phase != "failed" || r.Analysis == nil || r.Analysis.Verdict != "fail" {
		t.Fatalf("the deployment is %s: %+v", r.Phase, r.Analysis)
	}
	was, is := before.Report.Metrics[0], r.Analysis.Report.Metrics[0]
	if is.Candidate.Requests < was.Candidate.Requests+50 || is.Stable.Requests < was.Stable.Requests+50 {
		t.Errorf("before the crash it had %+v, and then %+v", was, is)
	}
	t.Log(r.Analysis.Reason)
}

// TestAnalysisAsksOthers takes a release back, and lets one pass, by what a command, a
// webhook and Prometheus say.
func TestAnalysisAsksOthers(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	var good atomic.Bool
	good.Store(true)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if good.Load() {
			fmt.Fprint(w, `{"verdict": "pass"}`)
			return
		}
		fmt.Fprint(w, `{"verdict": "fail", "message": "the shop sells nothing"}`)
	}))
	defer hook.Close()
	l := s.load(prove.Config{KeepAlive: 8, Fresh: 2, Rate: 300})
	checks := fmt.Sprintf(`errors: {margin: 5%%}, latency: {factor: 0}, checks: [{name: shop, webhook: "%s", every: 1s, failures: 2}, {name: disk, command: [/bin/sh, -c, "exit 0"], every: 1s}]`, hook.URL)
	steps := "weight: 50, bake: {max: 1m, early: true}"
	s.contains(s.deploy(analysed{release{version: "2"}, steps, checks}, 0), "the analysis says pass", "promoted")
	good.Store(false)
	s.contains(s.deploy(analysed{release{version: "3"}, steps + ", approve", checks}, 2), "analysis: shop: the shop sells nothing")
	good.Store(true)
	bad := strings.Replace(checks, "exit 0", "echo the disk is full; exit 3", 1)
	s.contains(s.deploy(analysed{release{version: "4"}, steps + ", approve", bad}, 2), "analysis: disk: ", "the disk is full")
	shop := prometheustest.Start(t, func() string { return "queue_length{release=\"r5\"} 500\nqueue_length{release=\"r6\"} 5\n" })
	queue := strings.Replace(checks, "command: [/bin/sh, -c, \"exit 0\"]", fmt.Sprintf(`prometheus: {server: "%s", query: 'sum(queue_length{release="{{.Release}}"})', max: 100}`, shop), 1)
	s.contains(s.deploy(analysed{release{version: "5"}, steps + ", approve", queue}, 2), "analysis: disk: ", "500")
	s.contains(s.deploy(analysed{release{version: "6"}, steps, queue}, 0), "the analysis says pass", "promoted")
	// One that doesn't know lets nothing pass, and takes nothing back.
	unknown := strings.Replace(checks, "exit 0", "exit 75", 1)
	file := s.write("segue.yaml", analysed{release{version: "7"}, "weight: 50, bake: {max: 5s, early: true}", unknown}.String(), 0o644)
	s.expect(4, "deploy", "-f", file, "--wait=false")
	eventually(t, "a pause", func() bool {
		return strings.Contains(s.expect(0, "explain", "-s", "web").Stdout, "the analysis is inconclusive")
	})
	s.contains(s.expect(0, "status"), "disk: ", "segue resume -s web d7")
	s.expect(0, "promote", "-s", "web", "--full")
	eventually(t, "the end", func() bool { return s.status().Deployment.Phase == "promoted" })
	l.nothingLost()
}
