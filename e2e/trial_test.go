package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/internal/prove"
)

// trial is a strategy and the service that it is tried with.
type trial struct {
	name string
	// good is a release that is to be promoted, late one that fails when it has all
	// traffic, or is about to, without that a user can tell.
	good, late func(s *stage) fmt.Stringer
	// bad are releases that are to be taken back.
	bad func(s *stage) []badRelease
	// use has the service used by many.
	use func(s *stage) users
}

// badRelease is one that is to be taken back, with what is said about it.
type badRelease struct {
	name string
	spec fmt.Stringer
	says string
	// errs: its answers are errors, which its users see. dies: an instance of it
	// dies under traffic, and what is in flight on it is lost.
	errs, dies bool
}

// users use a service, and know what they have lost.
type users interface {
	// leave ends the use and fails if something was lost that the bad releases
	// which there were don't explain.
	leave(had ...badRelease)
}

// trials are all strategies. Bakes are short where nothing is to be seen in them.
func trials() []trial {
	return []trial{
		web("blue-green", "blue-green: {preview: [{header: X-Segue-Release, value: candidate}], approve: {deadline: 300ms, then: promote}, bake: BAKE}", 2),
		web("canary", "canary: {instances: auto, steps: [weight: 20, bake: BAKE, verify, approve: {deadline: 300ms, then: promote}, weight: 60, bake: BAKE, weight: 100, bake: BAKE]}", 2),
		web("rolling with a surge", "rolling: {max_surge: 1, max_unavailable: 0, bake: BAKE}", 2),
		web("rolling without room", "rolling: {max_surge: 0, max_unavailable: 1, bake: BAKE}", 3),
		{name: "exclusive", good: ledgerSpec{}.on, late: ledgerSpec{more: failsLate}.on, bad: badLedgers, use: writers},
		{name: "worker overlap", good: workerSpec{}.on, late: workerSpec{more: failsCheck}.on, bad: badWorkers(workerSpec{}), use: queued},
		{
			name: "worker exclusive", good: workerSpec{exclusive: true}.on, late: workerSpec{exclusive: true, more: failsCheck}.on,
			bad: badWorkers(workerSpec{exclusive: true}), use: queued,
		},
	}
}

const (
	// failsLate lets a release fail when it has all traffic, in a hook, of which no
	// user knows.
	failsLate = `hooks: {after_shift: [{command: [sh, -c, 'test "$SEGUE_WEIGHT" -lt 100']}]}` + "\n"
	// failsCheck lets it fail when it runs.
	failsCheck = `smoke: [{command: ["false"]}]` + "\n"
	// keepsLogs lets the logs of all releases of a test be looked at.
	keepsLogs = "keep: 1000\n"
)

// eachTrial runs a test for every strategy, on a stage on which a good release is
// stable.
func eachTrial(t *testing.T, test func(s *stage, tr trial)) {
	t.Helper()
	t.Parallel()
	for _, tr := range trials() {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).serve()
			s.deploy(tr.good(s), 0)
			test(s, tr)
			s.neverTwice()
		})
	}
}

// neverTwice fails if an instance has found that another one has what only one may
// have: that is what the services of the exclusive strategies say then.
func (s *stage) neverTwice() {
	s.t.Helper()
	_ = filepath.WalkDir(filepath.Join(s.Dir, "driver"), func(path string, _ fs.DirEntry, _ error) error {
		text, _ := os.ReadFile(path) // A directory has none, and instances come and go.
		if bytes.Contains(text, []byte("another process has the ledger")) || bytes.Contains(text, []byte("failed to get lock")) {
			s.t.Errorf("%s: two ran at once:\n%s", path, text)
		}
		return nil
	})
}

// ---- A web service ----

// web is a strategy on the demo service.
func web(name, strategy string, instances int) trial {
	spec := func(behaviour, bake string) release {
		return release{behaviour: behaviour, strategy: strings.ReplaceAll(strategy, "BAKE", bake), instances: instances}
	}
	always := func(r release) func(*stage) fmt.Stringer { return func(*stage) fmt.Stringer { return r } }
	good := spec("", "200ms")
	late := good
	late.more = failsLate
	unhealthy := spec("unhealthy", "200ms")
	unhealthy.deadline = time.Second
	return trial{
		name: name, good: always(good), late: always(late),
		bad: func(*stage) []badRelease {
			return []badRelease{
				{name: "crashes at start", spec: spec("crash", "200ms"), says: "exited with code 1"},
				{name: "never healthy", spec: unhealthy, says: "not ready"},
				{name: "verification fails", spec: spec("smoke-fails", "200ms"), says: "GET /smoke: 500, want 2xx"},
				{name: "errors under traffic", spec: spec("errors=60", "30s"), says: "answers were errors", errs: true},
				{name: "dies under traffic", spec: spec("crash-at=10", "30s"), says: "died under traffic", dies: true},
			}
		},
		use: func(s *stage) users {
			return surfers{s, s.load(prove.Config{KeepAlive: 3, Fresh: 2, Slow: 1, Requests: load.Demo{SlowFor: 400 * time.Millisecond}.Requests, Rate: 40})}
		},
	}
}

// surfers use the demo service.
type surfers struct {
	s *stage
	*loadRun
}

// leave is part of users.
func (u surfers) leave(had ...badRelease) {
	u.t.Helper()
	checkReport(u.t, u.end(), had)
	var accepted uint64
	for _, r := range u.s.status().Traffic.Releases {
		accepted += r.Accepted - r.Rerouted
	}
	if sent := u.gen.Report().Sent; accepted != sent {
		u.t.Errorf("the clients sent %d requests, the proxy counted %d", sent, accepted)
	}
}

// inFlight is how many requests the clients of a load can have in flight on the
// instances of a release, each of which dies once.
const inFlight = 12

func checkReport(t *testing.T, r prove.Report, had []badRelease) {
	t.Helper()
	var errs bool
	var lost uint64
	for _, b := range had {
		errs = errs || b.errs
		if b.dies {
			lost += inFlight
		}
	}
	if r.OK == 0 || r.Wrong > 0 || r.Lost > lost || r.ServiceError > 0 && !errs || r.InFlight > 0 {
		t.Errorf("%s", r)
	}
}

// ---- A service with a database of its own ----

// ledgerSpec is a segue.yaml of examples/ledger. The zero value is a good one.
type ledgerSpec struct {
	dir, behaviour string
	bake, ready    time.Duration
	// hold are the limits of a hold.
	hold, more string
}

func (l ledgerSpec) String() string {
	return fmt.Sprintf(`service: web
artifact: ledger
command: [./ledger]
env: {DATA_DIR: "%s/data", LEDGER_BEHAVIOUR: %s}
health: {http: {path: /healthz}, interval: 50ms, timeout: 5s}
strategy:
  exclusive: {hold: {%s}, ready: %s, bake: %s}
guard: {max_errors: 10%%, min_requests: 20}
stop_grace: 15s
%s%s`, l.dir, cmp.Or(l.behaviour, "ok"), cmp.Or(l.hold, "time: 90s, requests: 1000, bytes: 16MiB"),
		cmp.Or(l.ready, 20*time.Second), cmp.Or(l.bake, 200*time.Millisecond), keepsLogs, l.more)
}

// on is the spec of a stage, with its files.
func (l ledgerSpec) on(s *stage) fmt.Stringer {
	s.t.Helper()
	s.copy(built.ledger, "ledger/ledger")
	l.dir = s.dir
	return l
}

func badLedgers(s *stage) []badRelease {
	return []badRelease{
		{name: "crashes at start", spec: ledgerSpec{behaviour: "crash"}.on(s), says: "exited with code 1"},
		{name: "never healthy", spec: ledgerSpec{behaviour: "never-ready", ready: time.Second}.on(s), says: "not all instances of"},
		{name: "verification fails", spec: ledgerSpec{more: failsCheck}.on(s), says: "check 1 of 1"},
		{name: "errors under traffic", spec: ledgerSpec{behaviour: "errors=60", bake: 30 * time.Second}.on(s), says: "answers were errors", errs: true},
	}
}

// scribes write into the ledger and read it.
type scribes struct {
	*loadRun
	book    *load.Ledger
	address string
}

func writers(s *stage) users {
	book := &load.Ledger{Write: 2, Read: 1}
	return scribes{s.load(prove.Config{KeepAlive: 4, Fresh: 2, Requests: book.Requests, Rate: 40, Timeout: 90 * time.Second}), book, s.Address}
}

// leave is part of users. Every write that was answered must be there, and none
// twice.
func (u scribes) leave(had ...badRelease) {
	u.t.Helper()
	checkReport(u.t, u.end(), had)
	audit, err := u.book.Audit(u.t.Context(), u.address)
	if err != nil {
		u.t.Fatal(err)
	}
	if !audit.Good() || audit.Answered == 0 {
		u.t.Errorf("%s", audit)
	}
}

// ---- A worker ----

// workerSpec is a segue.yaml of examples/worker. The zero value is a good one.
type workerSpec struct {
	dir, behaviour string
	exclusive      bool
	bake, deadline time.Duration
	// signal is the stop signal.
	signal, more string
}

func (w workerSpec) String() string {
	order, command, instances := "overlap", "[./worker]", 2
	if w.exclusive {
		// Who has the lock has it to the end of its process.
		order, instances = "exclusive", 1
		command = fmt.Sprintf("[flock, --verbose, --nonblock, --no-fork, %s/lock, ./worker]", w.dir)
	}
	return fmt.Sprintf(`service: web
artifact: worker
command: %s
env: {QUEUE_DIR: "%s/queue", WORKER_BEHAVIOUR: %s}
instances: %d
health: {notify: true, start_deadline: %s}
strategy:
  worker: {order: %s, bake: %s}
stop_signal: %s
stop_grace: 30s
%s%s`, command, w.dir, cmp.Or(w.behaviour, "ok"), instances, cmp.Or(w.deadline, 30*time.Second),
		order, cmp.Or(w.bake, 200*time.Millisecond), cmp.Or(w.signal, "TERM"), keepsLogs, w.more)
}

// on is the spec of a stage, with its files.
func (w workerSpec) on(s *stage) fmt.Stringer {
	s.t.Helper()
	s.copy(built.worker, "worker/worker")
	w.dir = s.dir
	return w
}

func badWorkers(w workerSpec) func(s *stage) []badRelease {
	return func(s *stage) []badRelease {
		with := func(behaviour string) workerSpec {
			bad := w
			bad.behaviour = behaviour
			return bad
		}
		neverReady, crashes, fails := with("never-ready"), with("crash-after=300ms"), with("")
		neverReady.deadline, crashes.bake, fails.more = time.Second, 30*time.Second, failsCheck
		return []badRelease{
			{name: "crashes at start", spec: with("crash").on(s), says: "exited with code 1"},
			{name: "never ready", spec: neverReady.on(s), says: "not ready"},
			{name: "verification fails", spec: fails.on(s), says: "check 1 of 1"},
			{name: "dies at work", spec: crashes.on(s), says: "died", dies: true},
		}
	}
}

// queue gives a worker something to do.
type queue struct {
	s    *stage
	dir  string
	stop func()
	// jobs is how many there were, once stop has returned.
	jobs int
}

// queued puts a short job into the queue again and again. The first takes longer, and with it
// the first step of an exclusive deployment, which waits for it: all its steps are over in a
// third of a second otherwise, before a test can do something in one.
func queued(s *stage) users {
	q := &queue{s: s, dir: filepath.Join(s.dir, "queue")}
	q.put("3s")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				q.put("40ms")
			}
		}
	})
	q.stop = sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	s.t.Cleanup(q.stop)
	return q
}

// put puts a job into the queue.
func (q *queue) put(takes string) {
	q.jobs++
	name := fmt.Sprintf("job-%06d", q.jobs)
	draft := filepath.Join(q.dir, name)
	if err := os.WriteFile(draft, []byte(takes), 0o666); err != nil {
		q.s.t.Errorf("put a job: %v", err)
		return
	}
	if err := os.Rename(draft, filepath.Join(q.dir, "new", name)); err != nil {
		q.s.t.Errorf("put a job: %v", err)
	}
}

// in lists the jobs that are new, busy or done.
func (q *queue) in(state string) []string {
	q.s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(q.dir, state))
	if err != nil {
		q.s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// leave is part of users. A job is done at most once, since only one worker can
// take it and a second result is an error of which the worker dies; so all is well
// if all are done. One that a worker was on that died stays where it was.
func (q *queue) leave(had ...badRelease) {
	q.s.t.Helper()
	q.stop()
	lost := 0
	for _, b := range had {
		if b.dies {
			lost += 2 // One of each of its two instances.
		}
	}
	eventually(q.s.t, "all jobs are done", func() bool {
		busy := q.in("busy")
		return len(q.in("new")) == 0 && len(busy) <= lost && len(q.in("done"))+len(busy) == q.jobs
	})
	for _, name := range q.in("done") {
		text, err := os.ReadFile(filepath.Join(q.dir, "done", name))
		if err != nil || bytes.Contains(text, []byte(`"error"`)) {
			q.s.t.Errorf("%s: %v, %s", name, err, text)
		}
	}
	if q.jobs == 0 {
		q.s.t.Error("there was nothing to do")
	}
}
