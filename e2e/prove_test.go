package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proof is what `segue prove -o json` prints, as far as tests look at it.
type proof struct {
	Sent, OK, Lost, Wrong, Duplicated, Seen, Echoed uint64
	Proved                                          bool
	Against                                         []string
	Log                                             struct{ Logged, Missing, Duplicated, Repeated uint64 }
	Alone                                           string
	Joined                                          *struct {
		Service      string
		Counted      uint64
		Failed       uint64
		Agreement    string
		Unknown      []string
		WrongRelease map[string]uint64 `json:"wrong_release"`
		Strayed      []struct{}
		Deployments  []struct {
			ID, Phase, Agreement string
			Accepted, Lost, Held uint64
			Least                uint64 `json:"sent_least"`
			Most                 uint64 `json:"sent_most"`
			ClientsLost          uint64 `json:"clients_lost"`
		}
	}
}

// proving is a `segue prove` at work.
type proving struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// prove runs `segue prove` until it is ended.
func (s *stage) prove(args ...string) *proving {
	s.t.Helper()
	args = append([]string{"prove", "--state-dir", s.Dir, "--for", "0", "-o", "json"}, args...)
	p := &proving{t: s.t, cmd: exec.Command(built.segue, append(args, "http://"+s.Address+"/")...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// end ends it, as Ctrl-C does, and returns its report.
func (p *proving) end(code int) (proof, string) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // its exit code says more
	var out proof
	if err := json.Unmarshal(p.stdout.Bytes(), &out); err != nil || p.cmd.ProcessState.ExitCode() != code {
		p.t.Fatalf("exit code %d, want %d: %v\n%s%s", p.cmd.ProcessState.ExitCode(), code, err, &p.stdout, &p.stderr)
	}
	return out, p.stdout.String()
}

// TestProve has `segue prove` watch deployments of each strategy for services that take
// requests, an abort, a rollback, a killed daemon and an upgrade: nothing is lost or
// duplicated, and its count is the proxies', the receipts' and the service's own.
func TestProve(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	seen := filepath.Join(s.dir, "seen.log")
	spec := func(strategy string) fmt.Stringer {
		r := release{strategy: strategy, env: "  DEMO_SEEN: " + seen + "\n", more: "route: {sticky: {cookie: seat}}\n"}
		if strings.HasPrefix(strategy, "exclusive") {
			return cold{r}
		}
		return r
	}
	s.deploy(spec(""), 0)
	p := s.prove("--rate", "150", "--clients", "12", "--post", "30", "--sticky", "--log", seen)
	eventually(t, "requests", func() bool { return lines(seen) > 20 })

	for _, strategy := range []string{
		"blue-green: {bake: 300ms}",
		"canary: {steps: [weight: 30, bake: 300ms, weight: 100, bake: 300ms]}",
		"rolling: {bake: 200ms}",
		"exclusive: {hold: {time: 60s}, bake: 200ms}",
	} {
		s.deploy(spec(strategy), 0)
	}
	s.begin(spec("canary: {steps: [weight: 50, approve, weight: 100, bake: 200ms]}"), 50)
	s.expect(0, "abort", "-s", "web")
	s.expect(3, "wait", "-s", "web", "d6")
	s.expect(0, "rollback", "-s", "web")
	s.begin(spec("canary: {steps: [weight: 50, approve, weight: 100, bake: 200ms]}"), 50)
	if err := s.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	before := lines(seen)
	eventually(t, "requests without a daemon", func() bool { return lines(seen) > before+50 })
	s.serve()
	s.expect(0, "promote", "-s", "web")
	s.expect(0, "wait", "-s", "web", "d8")
	s.expect(0, "upgrade", "--binary", s.another(1))
	before = lines(seen)
	eventually(t, "requests after the upgrade", func() bool { return lines(seen) > before+20 })

	r, text := p.end(0)
	if !r.Proved || r.OK != r.Sent || r.Sent < 500 || r.Echoed != r.Sent || r.Seen != r.Sent || r.Joined == nil {
		t.Fatalf("%s", text)
	}
	if r.Log.Logged != r.Sent || r.Log.Missing+r.Log.Duplicated > 0 {
		t.Errorf("the service's log: %+v", r.Log)
	}
	j := r.Joined
	if j.Service != "web" || j.Agreement != "agree" || j.Counted != r.Sent || len(j.Unknown)+len(j.WrongRelease)+len(j.Strayed) > 0 || j.Failed > 0 {
		t.Errorf("%s", text)
	}
	var ends []string
	for _, d := range j.Deployments {
		ends = append(ends, d.ID+" "+d.Phase+" "+d.Agreement)
		if d.Lost > 0 || d.Most == 0 || (d.ID == "d5") != (d.Held > 0) {
			t.Errorf("%+v", d)
		}
	}
	want := "d2 promoted agree, d3 promoted agree, d4 promoted agree, d5 promoted agree, d6 aborted agree, d7 promoted agree, d8 promoted agree"
	if got := strings.Join(ends, ", "); got != want {
		t.Errorf("deployments: %s\nwant %s\n%s", got, want, text)
	}
}

// cold is a release whose strategy leaves nothing warm.
type cold struct{ release }

func (c cold) String() string { return strings.Replace(c.release.String(), "warm: 5m0s\n", "", 1) }

// lines counts those of a file.
func lines(path string) int {
	text, _ := os.ReadFile(path) // It may not be there yet.
	return bytes.Count(text, []byte("\n"))
}

// TestProveFindsLosses: a release that dies as a whole loses what was in flight on it,
// and the command says how much, in agreement with the receipt.
func TestProveFindsLosses(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{}, 0)
	p := s.prove("--rate", "200", "--clients", "8", "--post", "100")
	after := time.Now()
	s.deploy(release{behaviour: "crash-at=30", strategy: "canary: {steps: [weight: 50, bake: 30s, weight: 100]}"}, 2)
	eventually(t, "a moment of stable alone", func() bool { return time.Since(after) > time.Second })
	r, text := p.end(2)
	if r.Proved || r.Lost == 0 || r.Wrong+r.Duplicated > 0 || r.Joined == nil || r.Joined.Agreement != "agree" || r.Joined.Failed != r.Lost {
		t.Fatalf("%s", text)
	}
	if d := r.Joined.Deployments; len(d) != 1 || d[0].Lost != r.Lost || d[0].ClientsLost != r.Lost {
		t.Errorf("%s", text)
	}
	if want := fmt.Sprintf("[%d lost]", r.Lost); fmt.Sprint(r.Against) != want {
		t.Errorf("against it: %q, want %s", r.Against, want)
	}
}
