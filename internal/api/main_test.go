package api

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is a safety net: nothing here takes nearly as long.
const patience = 30 * time.Second

// artifactLimit is the store's, in bytes.
const artifactLimit = 1 << 20

// world is a daemon's inside, with a scripted machine in place of processes: what
// outlives a daemon, and the daemon that runs.
type world struct {
	t       *testing.T
	dir     string
	machine *drivertest.Machine
	proxy   *proxy.Proxy
	store   *artifact.Store
	client  *Client
	log     *lockedBuffer
	// journalDir may be elsewhere.
	journalDir string

	server  *Server
	stop    context.CancelFunc
	ended   sync.WaitGroup
	stopped chan struct{}
	stops   int
}

func newWorld(t *testing.T) *world { return newWorldIn(t, t.TempDir()) }

// newWorldIn keeps the journal in a directory of its own.
func newWorldIn(t *testing.T, journalDir string) *world {
	t.Helper()
	// A socket's path is short.
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	store, err := artifact.Open(filepath.Join(dir, "artifacts"), artifactLimit)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: dir, machine: drivertest.NewMachine(), proxy: proxy.New(proxy.Config{}), store: store,
		client: NewClient(filepath.Join(dir, "segue.sock")), log: &lockedBuffer{}, stopped: make(chan struct{}),
		journalDir: journalDir,
	}
	w.start()
	t.Cleanup(func() {
		w.stop()
		w.ended.Wait()
		w.client.http.CloseIdleConnections()
		// What is in the store is not writable.
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return nil
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return w
}

// start runs a daemon; it has ended when stop was called and ended has passed.
func (w *world) start() {
	w.t.Helper()
	j, err := journal.Open(w.t.Context(), filepath.Join(w.journalDir, "journal.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(w.dir, "segue.sock"))
	if err != nil {
		w.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	engine := deploy.New(deploy.Config{
		Journal: j, Driver: drivertest.NewFake(w.machine), Traffic: w.proxy, Artifacts: w.store,
		LookupEnv: os.LookupEnv, Logger: logger,
	})
	w.server = &Server{
		Engine: engine, Version: Version{Version: "v0", Go: "go", Pid: 1}, Logger: logger,
		StopAll: func() { w.stops++; close(w.stopped) },
		Proxies: func(context.Context) (ProxyVersion, error) { return ProxyVersion{Pid: 2, Version: "v0"}, nil },
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	var parts sync.WaitGroup
	part := func(f func(context.Context) error) {
		parts.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
		})
	}
	server := w.server
	part(engine.Run)
	part(engine.ProxyStarted)
	part(func(ctx context.Context) error { return server.Serve(ctx, l) })
	w.ended.Go(func() {
		parts.Wait()
		if err := j.Close(); err != nil {
			w.t.Error(err)
		}
	})
}

// service is a spec without smoke tests whose bake takes no time to speak of.
func service(t *testing.T, name, more string) *spec.Spec {
	t.Helper()
	s, err := spec.Parse("segue.yaml", []byte("service: "+name+"\ncommand: [serve]\nstrategy:\n  blue-green: {bake: 10ms}\nroute: {hosts: ["+name+".example.com]}\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request asks for a deployment of web.
func (w *world) request(busy Busy, reason string) (Deployment, error) {
	w.t.Helper()
	up, err := w.client.Upload(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.client.Deploy(w.t.Context(), DeployRequest{
		Spec: service(w.t, "web", ""), Artifact: up.Digest, Busy: busy, Reason: reason,
	})
}

// deploy runs a deployment of web to its end.
func (w *world) deploy() Deployment {
	w.t.Helper()
	d, err := w.request("", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.await(d.ID)
}

// await follows a deployment to its end.
func (w *world) await(id string) Deployment {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	r := &recorder{}
	if err := w.client.Follow(ctx, "web", id, r); err != nil {
		w.t.Fatal(err)
	}
	return r.now
}

// recorder is a Follower that keeps what it is told until a deployment ends.
type recorder struct {
	now         Deployment
	events      []Event
	lost, found int
	// onEvent and onLost, if set, are called as well.
	onEvent func(Event)
	onLost  func()
}

func (r *recorder) Event(ev Event) bool {
	r.events = append(r.events, ev)
	r.now = r.now.Apply(ev)
	if r.onEvent != nil {
		r.onEvent(ev)
	}
	return !r.now.Phase.Final()
}

func (r *recorder) Lost(time.Time) {
	r.lost++
	if r.onLost != nil {
		r.onLost()
	}
}

func (r *recorder) Found() { r.found++ }

// raw sends a request as no client of ours would.
func (w *world) raw(method, path, body string) (status int, header http.Header, answer []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://segue"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.client.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

// problem sends a request that must end with a problem.
func (w *world) problem(method, path, body string) Problem {
	w.t.Helper()
	status, header, answer := w.raw(method, path, body)
	var p Problem
	if err := json.Unmarshal(answer, &p); err != nil {
		w.t.Fatalf("%s %s: %d %q: %v", method, path, status, answer, err)
	}
	if got := header.Get("Content-Type"); got != "application/problem+json" {
		w.t.Errorf("%s %s: the content type is %s", method, path, got)
	}
	if p.Status != status || p.Title != http.StatusText(status) || p.Type == "" || p.Detail == "" {
		w.t.Errorf("%s %s: status %d with %+v", method, path, status, p)
	}
	return p
}

// within fails the test when f takes too long; quickly says so for what must not
// wait for a time limit of the server.
func (w *world) within(limit time.Duration, what string, f func()) {
	w.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		w.t.Fatalf("%s: not done after %s", what, limit)
	}
}

// tarOf is a stream of one file.
func tarOf(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
