package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/internal/prove"
)

// crashPoints are all events of a deployment after which the daemon can be
// killed, found from its plan.
func (s *stage) crashPoints(file, deployment string) []string {
	s.t.Helper()
	var plan struct{ Steps []struct{ Kind string } }
	if err := s.JSON(s.t.Context(), &plan, "plan", "-f", file); err != nil {
		s.t.Fatal(err)
	}
	points := []string{"web/" + deployment + "/requested", "web/" + deployment + "/began"}
	for i := range plan.Steps {
		points = append(points, fmt.Sprintf("web/%s/intended/%d", deployment, i), fmt.Sprintf("web/%s/did/%d", deployment, i))
	}
	return append(points, "web/"+deployment+"/finished")
}

// noSecondCopy compares what the status says with the processes that live.
func (s *stage) noSecondCopy(when string) {
	s.t.Helper()
	s.onlyThese(s.status(), when)
}

// onlyThese is noSecondCopy for a status that is known.
func (s *stage) onlyThese(st status, when string) {
	s.t.Helper()
	want := 1 // the proxy
	for _, r := range st.Releases {
		want += len(r.Instances)
		for _, in := range r.Instances {
			if in.Restarts > 0 {
				s.t.Errorf("after %s: %s was restarted", when, in.ID)
			}
		}
	}
	eventually(s.t, fmt.Sprintf("%d processes after %s: %v", want, when, s.Processes()), func() bool { return len(s.Processes()) == want })
}

// TestProxyKilled kills the proxy under load: connections are not refused, only
// requests in flight are lost, and another proxy comes by itself.
func TestProxyKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{KeepAlive: 4, Fresh: 4, Rate: 150})
	l.answersFrom("r1", time.Time{})
	before := s.ProxyPid()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	l.answersFrom("r1", killed.Add(50*time.Millisecond))
	eventually(t, "another proxy", func() bool { pid := s.ProxyPid(); return pid != 0 && pid != before })
	// It works for deploys, too, with the very same instances.
	s.deploy(release{version: "2"}, 0)
	report := l.end()
	if report.Causes["refused"] > 0 {
		t.Errorf("connections were refused: %v", report.Causes)
	}
	for _, f := range report.Failures {
		// Every client may lose the one request that it had in flight, and a
		// connection that the dead proxy had taken from the kernel.
		if f.At.After(killed.Add(time.Second)) {
			t.Errorf("lost long after the proxy died: %s", f)
		}
	}
	if lost := report.Lost + report.Wrong; lost > 10+8 {
		t.Errorf("%d lost of 10 clients: %v", lost, report.Causes)
	}
}

// TestProxyKilledDuringADeployment lets the deployment end all the same; its
// receipt says what is not known.
func TestProxyKilledDuringADeployment(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	file := s.write("segue.yaml", release{version: "2", bake: 4 * time.Second}.String(), 0o644)
	s.expect(4, "deploy", "-f", file, "--wait=false")
	eventually(t, "the shift", func() bool { _, b := s.get("/"); return strings.Contains(b, "r2") })
	if err := syscall.Kill(s.ProxyPid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { return s.status().Deployment.Phase == "promoted" })
	if r := s.receipt("d2"); len(r.Unknown) != 1 || !strings.Contains(r.Unknown[0], "started anew") {
		t.Errorf("unknown: %q", r.Unknown)
	}
	if _, body := s.get("/"); !strings.Contains(body, "r2") {
		t.Errorf("answered by %s", body)
	}
}

// TestInstanceKilled kills instances one after another under load of safe
// requests, which lose nothing.
func TestInstanceKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1", instances: 3}, 0)
	l := s.load(prove.Config{KeepAlive: 8, Fresh: 2, Requests: load.Demo{Get: 1}.Requests, Rate: 150})
	l.answersFrom("r1", time.Time{})
	for i := range 3 {
		in := s.status().Releases[0].Instances[i]
		if err := syscall.Kill(in.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, in.ID+" is back", func() bool {
			now := s.status().Releases[0].Instances[i]
			return now.State == "ready" && now.Pid != in.Pid && now.Restarts == 1
		})
	}
	l.nothingLost()
}

// TestDaemonStopsWithoutTraffic: SIGTERM stops the daemon, not the traffic.
func TestDaemonStopsWithoutTraffic(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})
	for range 3 {
		if err := s.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-s.Ended()
		if code := s.ExitCode(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		l.answersFrom("r1", time.Now())
		s.contains(s.expect(1, "status"), "no daemon answers", "segue serve")
		s.serve()
		l.answersFrom("r1", time.Now())
	}
	l.nothingLost()
	s.noSecondCopy("three restarts")
}

// TestOneDaemon refuses a second daemon on a state directory, and an address that
// is in use.
func TestOneDaemon(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.contains(s.expect(1, "serve", "--listen", "127.0.0.1:0"), "another segue daemon has the state directory")
	other := newStage(t)
	other.Address = s.Address
	if err := other.Serve(); err == nil || !strings.Contains(err.Error(), "another program listens there") {
		t.Errorf("an address in use: %v", err)
	}
}

// TestNoService has an answer for requests that nobody takes.
func TestNoService(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	if code, body := s.get("/"); code != http.StatusNotFound {
		t.Errorf("%d %s", code, body)
	}
	s.contains(s.expect(1, "receipt", "-s", "web"), `there is no service "web"`)
	s.contains(s.expect(0, "status"), "no service yet")
	missing := filepath.Join(s.dir, "nowhere.yaml")
	s.contains(s.expect(1, "deploy", "-f", missing), missing)
}
