// Package e2e runs the built binary as a user does, under the load of a client
// that counts every request, and breaks it at every step.
package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/e2e/rig"
	"github.com/segue-deploy/segue/internal/prove"
)

// binaries are built once, before the tests: segue, and the examples that it
// deploys.
type binaries struct{ segue, service, ledger, worker, upload string }

var built binaries

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	// The race detector would wait for a second at the end of each program.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "segue-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = binaries{
		segue: filepath.Join(dir, "segue"), service: filepath.Join(dir, "demo-service"),
		ledger: filepath.Join(dir, "ledger"), worker: filepath.Join(dir, "worker"),
		upload: filepath.Join(dir, "upload"),
	}
	// The examples are small, since they are deployed again and again.
	for _, args := range [][]string{
		slices.Concat([]string{"build"}, raceFlags(), []string{"-tags", "crashpoints", "-o", built.segue, "../cmd/segue"}),
		{"build", "-ldflags", "-s -w", "-o", built.service, "../examples/demo"},
		{"build", "-ldflags", "-s -w", "-o", built.ledger, "../examples/ledger"},
		{"build", "-ldflags", "-s -w", "-o", built.worker, "../examples/worker"},
		{"build", "-ldflags", "-s -w", "-o", built.upload, "../examples/upload"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %s: %v\n%s", strings.Join(args, " "), err, out)
			return 1
		}
	}
	return m.Run()
}

// stage is a daemon with the demo service's files.
type stage struct {
	*rig.Rig
	t   *testing.T
	dir string
	// log is what the daemon wrote; it is shown when the test fails.
	log string
	// unmount: the state directory is a file system of its own.
	unmount bool
}

func newStage(t *testing.T, flags ...string) *stage {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	r, err := rig.New(built.segue, filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	r.Flags = flags
	s := &stage{Rig: r, t: t, dir: dir, log: filepath.Join(dir, "daemon.log")}
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	r.Output = out
	t.Cleanup(func() {
		if err := r.StopAll(); err != nil {
			t.Error(err)
		}
		out.Close()
		s.checkLogs()
		if s.unmount {
			if err := syscall.Unmount(s.Dir, 0); err != nil {
				t.Error(err)
			}
		}
		_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return nil
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s.copy(built.service, "artifact/demo-service")
	return s
}

// checkLogs fails on a data race in the daemon or the proxy, and shows what they
// wrote when the test has failed.
func (s *stage) checkLogs() {
	for _, path := range []string{s.log, filepath.Join(s.Dir, "proxy.log")} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if strings.Contains(string(text), "DATA RACE") || strings.Contains(string(text), "panic:") {
			s.t.Errorf("%s has a data race or a panic", filepath.Base(path))
		}
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", filepath.Base(path), text)
		}
	}
}

func (s *stage) serve() *stage {
	s.t.Helper()
	if err := s.Serve(); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *stage) copy(from, to string) {
	s.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(to, string(data), 0o755)
}

func (s *stage) write(name, text string, mode os.FileMode) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// release is a segue.yaml of the demo service. The zero value is a good one.
type release struct {
	version   string
	behaviour string
	instances int
	bake      time.Duration
	drain     time.Duration
	warm      time.Duration
	deadline  time.Duration
	// strategy is the value of the field; empty is blue-green with that bake.
	strategy string
	// env are lines that are added to it, more is added at the end.
	env, more string
}

func (r release) String() string {
	return fmt.Sprintf(`service: web
artifact: artifact
command: [./demo-service]
instances: %d
env:
  DEMO_VERSION: "%s"
  DEMO_BEHAVIOUR: %s
%shealth:
  http: {path: /healthz}
  interval: 100ms
  timeout: 5s
  start_deadline: %s
smoke:
  - http: {path: /smoke, contains: smoke test passed}
strategy:
  %s
guard: {max_errors: 10%%, min_requests: 20}
drain: %s
warm: %s
stop_grace: 5s
%s`, cmp.Or(r.instances, 2), r.version, cmp.Or(r.behaviour, "ok"), r.env, cmp.Or(r.deadline, 30*time.Second),
		cmp.Or(r.strategy, fmt.Sprintf("blue-green: {bake: %s}", cmp.Or(r.bake, 500*time.Millisecond))),
		cmp.Or(r.drain, 20*time.Second), cmp.Or(r.warm, 5*time.Minute), r.more)
}

// deploy deploys what a segue.yaml describes and expects an exit code.
func (s *stage) deploy(r fmt.Stringer, code int) rig.Result {
	s.t.Helper()
	file := s.write("segue.yaml", r.String(), 0o644)
	return s.expect(code, "deploy", "-f", file)
}

// deployBeside deploys while the test goes on.
func (s *stage) deployBeside(r fmt.Stringer) <-chan rig.Result {
	s.t.Helper()
	file := s.write("segue.yaml", r.String(), 0o644)
	done := make(chan rig.Result, 1)
	go func() { done <- s.Run(s.t.Context(), "deploy", "-f", file) }()
	return done
}

// expect runs a command and expects an exit code.
func (s *stage) expect(code int, args ...string) rig.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	res := s.Run(ctx, args...)
	if res.Code != code {
		s.t.Fatalf("segue %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), res.Code, code, res.Stdout, res.Stderr)
	}
	return res
}

func (s *stage) contains(res rig.Result, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(res.Stdout+res.Stderr, text) {
			s.t.Errorf("no %q in\n%s%s", text, res.Stdout, res.Stderr)
		}
	}
}

// loadRun is a load client at work.
type loadRun struct {
	t    *testing.T
	gen  *prove.Generator
	stop context.CancelFunc
	err  chan error
}

func (s *stage) load(cfg prove.Config) *loadRun {
	s.t.Helper()
	cfg.Target, cfg.Marked = s.Address, true
	if cfg.KeepAlive+cfg.Fresh+cfg.Slow == 0 {
		cfg.KeepAlive, cfg.Fresh, cfg.Slow = 8, 3, 2
	}
	if cfg.Rate == 0 {
		cfg.Rate = 200
	}
	if cfg.Requests == nil {
		cfg.Requests = load.Demo{SlowFor: 2 * time.Second}.Requests
	}
	gen, err := prove.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &loadRun{t: s.t, gen: gen, stop: stop, err: make(chan error, 1)}
	go func() { l.err <- gen.Run(ctx) }()
	s.t.Cleanup(func() { l.end() })
	return l
}

// end stops the load and returns its report; again it returns the same.
func (l *loadRun) end() prove.Report {
	l.stop()
	if err, ok := <-l.err; ok {
		close(l.err)
		if err != nil {
			l.t.Errorf("load: %v", err)
		}
	}
	return l.gen.Report()
}

// nothingLost ends the load and fails if a request did not end well.
func (l *loadRun) nothingLost() prove.Report {
	l.t.Helper()
	r := l.end()
	if r.OK != r.Sent || r.Sent == 0 {
		l.t.Errorf("%s", r)
		for _, f := range r.Failures {
			l.t.Log(f)
		}
	}
	return r
}

// wait returns when the load has got some answers from a release.
func (l *loadRun) answersFrom(release string, at time.Time) {
	l.t.Helper()
	eventually(l.t, "answers from "+release, func() bool { return l.gen.After(at)[release] > 0 })
}

// eventually polls until something holds; the deadline is only there so that a
// test that fails ends.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ask sends one request to the daemon's API.
func (s *stage) ask(method, path, body string) (code int, answer []byte, err error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", filepath.Join(s.Dir, "segue.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://segue"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// get sends one request on a connection of its own.
func (s *stage) get(path string) (int, string) {
	s.t.Helper()
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.Address + path)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return resp.StatusCode, string(body)
}

// dial connects as a client does that speaks for itself.
func (s *stage) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// status is the service's, as far as tests look at it.
type status struct {
	Stable     string
	Deployment deployment
	Releases   []struct {
		ID        string
		Role      string
		Weight    int
		Want      int
		Instances []struct {
			ID       string
			State    string
			Pid      int
			Restarts int
		}
	}
	// Hold is one by hand.
	Hold    *struct{}
	Traffic struct {
		Releases []counts
		Held     held
		Mirror   mirrored
	}
}

type deployment struct {
	ID        string
	Candidate string
	Phase     string
	Reason    string
	Paused    *struct{ By, Reason string }
	Steps     []step
}

type step struct {
	Kind, Status string
	Back         bool
}

type counts struct {
	ID       string
	Accepted uint64
	InFlight int64 `json:"in_flight"`
	Rerouted uint64
	Retried  uint64
}

// held are the requests that waited in the proxy.
type held struct {
	Now                  int64
	Total, Expired, Gone uint64
	LetGo                uint64 `json:"let_go"`
	Longest              time.Duration
}

// mirrored are the copies of requests.
type mirrored struct {
	Sent, Dropped, Failed, Same, Different, Uncompared uint64
}

// status asks the API itself, as `segue status` does: it is asked for all the time, and
// a process for each would take most of the machine.
func (s *stage) status() status {
	s.t.Helper()
	code, text, err := s.ask(http.MethodGet, "/v1/services", "")
	if err != nil || code != http.StatusOK {
		s.t.Fatalf("status: %v, %d %s", err, code, text)
	}
	var all []status
	if err := json.Unmarshal(text, &all); err != nil {
		s.t.Fatal(err)
	}
	if len(all) != 1 {
		s.t.Fatalf("%d services", len(all))
	}
	return all[0]
}

func (d deployment) final() bool {
	return d.Phase == "promoted" || d.Phase == "failed" || d.Phase == "aborted"
}

// endings are how requests ended in a drain, by what they were.
type endings struct{ Answers, Streams, WebSockets, Tunnels ending }

type ending struct{ Finished, Told, Cut int }

// receipt is a deployment's, as far as tests look at it.
type receipt struct {
	Phase    string
	Reason   string
	Releases []account
	Total    account
	Drains   []struct {
		Release                   string
		Finished, Told, Cut, Left int
		InFlight                  int `json:"in_flight"`
		By                        endings
	}
	Held    held
	Queued  held
	Mirror  mirrored
	Unknown []string
	// Analysis is nil for a deployment without.
	Analysis *finding
}

// finding is what an analysis has found.
type finding struct {
	Verdict, Reason string
	Report          struct {
		Culprit string
		Metrics []struct {
			Name              string
			Stable, Candidate struct{ Requests, Failed uint64 }
		}
	}
	Checks []struct{ Name, Verdict, Found string }
}

// account is what became of a release's requests.
type account struct {
	Release         string
	Accepted        uint64
	Carried         int64
	Answered        [6]uint64
	Lost            uint64
	Replayed        uint64
	Failed          struct{ Connect, Unavailable uint64 }
	FailedByService uint64 `json:"failed_by_service"`
	FailedBySegue   uint64 `json:"failed_by_segue"`
	ClientGone      uint64 `json:"client_gone"`
	Rerouted        uint64
	Shed            uint64
	Retried         uint64
	InFlight        int64 `json:"in_flight"`
	// Drained counts endings in drains and at the end of proxies, Departed the latter.
	Drained, Departed endings
}

func (s *stage) receipt(id string) receipt {
	s.t.Helper()
	var r receipt
	if err := s.JSON(s.t.Context(), &r, "receipt", "-s", "web", id); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// adds fails unless every request of a receipt has exactly one end.
func (r receipt) adds(t *testing.T, id string) {
	t.Helper()
	for _, a := range append(r.Releases, r.Total) {
		ends := a.Lost + a.ClientGone + a.Rerouted + a.Shed + uint64(a.InFlight)
		for _, n := range a.Answered {
			ends += n
		}
		if begun := a.Accepted + uint64(a.Carried); begun != ends {
			t.Errorf("receipt of %s: of %q %d requests were begun and %d ended: %+v", id, a.Release, begun, ends, a)
		}
	}
	if h := r.Held; h.Total != uint64(h.Now)+h.LetGo+h.Expired+h.Gone {
		t.Errorf("receipt of %s: held: %+v", id, h)
	}
	if len(r.Unknown) > 0 {
		t.Errorf("receipt of %s: unknown: %q", id, r.Unknown)
	}
}
