package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

// world is what outlives an engine: the machine, the proxy, and the disk. Its
// engine can be stopped, or crash at an event, and be started again.
type world struct {
	t       *testing.T
	dir     string
	machine *drivertest.Machine
	proxy   *proxy.Proxy
	// traffic stands between the engine and the proxy, if it is set.
	traffic Traffic
	store   *artifact.Store

	engine  *Engine
	journal *journal.Journal
	stop    context.CancelFunc
	ended   sync.WaitGroup

	// crashAfter is the number of events after which the engine dies; 0 is never.
	crashAfter int
	mu         sync.Mutex
	events     int
	// seen, if set, is told of every event, with the service's mu held; driver, if
	// set, is put before the machine's.
	seen   func(Event)
	driver func(driver.Driver) driver.Driver
}

// scratch returns a folder that is in memory where the machine has one: the sweeps
// commit some 100,000 events, and what they are about is not the disk.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "segue-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: scratch(t), machine: drivertest.NewMachine(), proxy: proxy.New(proxy.Config{})}
	var err error
	if w.store, err = artifact.Open(filepath.Join(w.dir, "artifacts"), 1<<20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return nil
		})
	})
	w.start()
	return w
}

// start runs an engine as a daemon would that finds the proxy running.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.journal, err = journal.Open(w.t.Context(), filepath.Join(w.dir, "journal.db")); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	traffic := w.traffic
	if traffic == nil {
		traffic = w.proxy
	}
	var onMachine driver.Driver = drivertest.NewFake(w.machine)
	if w.driver != nil {
		onMachine = w.driver(onMachine)
	}
	w.engine = New(Config{
		Journal: w.journal, Driver: onMachine, Traffic: traffic, Artifacts: w.store,
		LookupEnv: os.LookupEnv, Logger: slog.New(slog.DiscardHandler), AfterAppend: w.afterAppend,
	})
	engine := w.engine
	w.ended.Go(func() {
		if err := engine.Run(ctx); err != nil && ctx.Err() == nil {
			w.t.Errorf("engine: %v", err)
		}
	})
	w.ended.Go(func() {
		if err := engine.ProxyStarted(ctx); err != nil && ctx.Err() == nil {
			w.t.Errorf("proxy started: %v", err)
		}
	})
}

// afterAppend lets the engine die: nothing is journalled from here on.
func (w *world) afterAppend(ev Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen != nil {
		w.seen(ev)
	}
	w.events++
	if w.events == w.crashAfter {
		w.stop()
		_ = w.journal.Close()
	}
}

// countFrom counts events from here on, and lets the engine die after one of them; 0
// is never.
func (w *world) countFrom(crashAfter int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events, w.crashAfter = 0, crashAfter
}

// counted is how many events there were.
func (w *world) counted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events
}

func (w *world) close() {
	w.stop()
	w.ended.Wait()
	if err := w.journal.Close(); err != nil && !errors.Is(err, journal.ErrClosed) {
		w.t.Error(err)
	}
}

// upload puts the empty artifact.
func (w *world) upload() string {
	w.t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).Close(); err != nil {
		w.t.Fatal(err)
	}
	a, err := w.engine.PutArtifact(w.t.Context(), &b)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Digest
}

func (w *world) request(sp *spec.Spec, busy Busy) (Deployment, error) {
	w.t.Helper()
	return w.engine.Deploy(w.t.Context(), Request{Spec: sp, Artifact: w.upload(), Busy: busy, Actor: Actor{By: "tester"}})
}

// deploy runs a deployment to its end.
func (w *world) deploy(sp *spec.Spec) Deployment {
	w.t.Helper()
	d, err := w.request(sp, BusyRefuse)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.await(d.Number)
}

// await returns a deployment when it has ended. Time is the bubble's: it leaps to
// the next thing that happens.
func (w *world) await(number int) Deployment {
	w.t.Helper()
	deadline := time.Now().Add(time.Hour)
	for time.Now().Before(deadline) {
		d, err := w.engine.Deployment(w.t.Context(), "web", number)
		if err != nil {
			w.t.Fatal(err)
		}
		if d.Phase.Final() {
			return d
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatalf("d%d has not ended after an hour", number)
	return Deployment{}
}

func (w *world) state() State { return w.engine.find("web").snapshot() }

// table is the last one that was put in force.
func (w *world) table() proxy.Table {
	synctest.Wait() // until no change of it is under way
	w.engine.table.lock <- struct{}{}
	defer func() { <-w.engine.table.lock }()
	return w.engine.table.last
}

// inForce are the weights that the proxy knows.
func (w *world) inForce() map[string]int {
	st := w.state()
	weights := map[string]int{}
	for _, svc := range w.table().Services {
		if svc.Name != st.Service {
			continue
		}
		for _, r := range svc.Releases {
			weights[r.ID] = r.Weight
		}
	}
	return weights
}

func (w *world) expectPhase(d Deployment, want Phase, reason string) {
	w.t.Helper()
	if d.Phase != want || !strings.Contains(d.Reason, reason) {
		w.t.Fatalf("%s ended %s: %q; want %s: %q", d.ID, d.Phase, d.Reason, want, reason)
	}
}

func (w *world) expectWeights(want map[string]int) {
	w.t.Helper()
	if got := w.inForce(); !reflect.DeepEqual(got, want) {
		w.t.Fatalf("weights in force are %v, want %v", got, want)
	}
}

func (w *world) expectAlive(release string, want int) {
	w.t.Helper()
	if got := w.machine.Alive("web", release); got != want {
		w.t.Fatalf("%d instances of %s live, want %d", got, release, want)
	}
	if most := w.machine.MostAlive("web", release); most > 2 {
		w.t.Fatalf("%d instances of %s lived at once", most, release)
	}
}

// scenario runs f in a bubble with r1 promoted.
func scenario(t *testing.T, f func(w *world, sp *spec.Spec)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		sp := testSpec(t, "")
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		f(w, sp)
	})
}

func TestDeployKeepsStableWarmAndRetiresIt(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.expectWeights(map[string]int{"r1": 100})
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		w.expectWeights(map[string]int{"r1": 0, "r2": 100})
		w.expectAlive("r1", 2)
		w.expectAlive("r2", 2)
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		w.expectAlive("r1", 0)
		w.expectWeights(map[string]int{"r2": 100})
		if st := w.state(); st.Stable != "r2" || st.Previous != "r1" {
			t.Fatalf("stable is %s, before %s", st.Stable, st.Previous)
		}
	})
}

func TestBadCandidatesAreTakenBack(t *testing.T) {
	for _, test := range []struct {
		name   string
		script drivertest.Script
		reason string
	}{
		{"can't start", drivertest.Script{StartError: errors.New("no such command")}, "no such command"},
		{"exits at once", drivertest.Script{ExitAfter: 10 * time.Millisecond, Output: []string{"boom"}}, "exit"},
		{"never ready", drivertest.Script{NeverReady: true}, "r2"},
		{"fails its smoke test", drivertest.Script{Exec: func(context.Context, []string, map[string]string) (string, error) {
			return "the answer is 41", errors.New("exit code 1")
		}}, "the answer is 41"},
		{"dies under traffic", drivertest.Script{ExitAfter: 5 * time.Second, Restarts: -1}, "died under traffic"},
	} {
		t.Run(test.name, func(t *testing.T) {
			scenario(t, func(w *world, sp *spec.Spec) {
				w.machine.Script("web", "r2", test.script)
				d := w.deploy(sp)
				w.expectPhase(d, PhaseFailed, test.reason)
				w.expectWeights(map[string]int{"r1": 100})
				w.expectAlive("r1", 2)
				w.expectAlive("r2", 0)
				if len(test.script.Output) > 0 && !slices.Contains(d.LogTail, test.script.Output[0]) {
					t.Errorf("the last lines are %q", d.LogTail)
				}
			})
		})
	}
}

func TestUnhealthyUnderTrafficIsTakenBack(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		d, err := w.request(sp, BusyRefuse)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.expectWeights(map[string]int{"r1": 0, "r2": 100})
		w.machine.SetReady("web-r2-1", false)
		w.expectPhase(w.await(d.Number), PhaseFailed, "not healthy under traffic")
		w.expectWeights(map[string]int{"r1": 100})
	})
}

func TestAbort(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.machine.Script("web", "r2", drivertest.Script{ReadyAfter: 20 * time.Second})
		d, err := w.request(sp, BusyRefuse)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := w.engine.Abort(w.t.Context(), "web", 0, Actor{By: "tester", Reason: "wrong branch"}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.expectPhase(w.await(d.Number), PhaseAborted, "wrong branch")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the abort waited %s for the step", took)
		}
		w.expectAlive("r2", 0)
		if _, err := w.engine.Abort(w.t.Context(), "web", d.Number, Actor{By: "tester"}); err == nil || !strings.Contains(err.Error(), "has ended: aborted") {
			t.Errorf("aborting twice: %v", err)
		}
	})
}

func TestBusy(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		first, err := w.request(sp, BusyRefuse)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.request(sp, BusyRefuse); err == nil || !strings.Contains(err.Error(), first.ID) {
			t.Fatalf("a second deployment: %v", err)
		}
		queued, err := w.request(sp, BusyQueue)
		if err != nil {
			t.Fatal(err)
		}
		superseding, err := w.request(sp, BusySupersede)
		if err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(first.Number), PhaseAborted, "superseded by "+superseding.ID)
		w.expectPhase(w.await(queued.Number), PhaseAborted, "superseded by "+superseding.ID)
		w.expectPhase(w.await(superseding.Number), PhasePromoted, "")
	})
}

func TestQueueRunsInOrder(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		var numbers []int
		for range 3 {
			d, err := w.request(sp, BusyQueue)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, d.Number)
		}
		var last time.Time
		for _, n := range numbers {
			d := w.await(n)
			w.expectPhase(d, PhasePromoted, "")
			if d.Began.Before(last) {
				t.Errorf("%s began before its predecessor had ended", d.ID)
			}
			last = d.Finished
		}
	})
}

func TestRollback(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.deploy(sp)
		starts := w.machine.Starts("web", "r1")
		began := time.Now()
		d, err := w.engine.Rollback(w.t.Context(), "web", "", BusyRefuse, Actor{By: "tester"})
		if err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
		w.expectWeights(map[string]int{"r1": 100, "r2": 0})
		if w.machine.Starts("web", "r1") != starts || time.Since(began) > time.Second {
			t.Errorf("a rollback to a warm release took %s and %d starts", time.Since(began), w.machine.Starts("web", "r1")-starts)
		}
		// r2 is retired when its time as a warm release is over; then it must boot.
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		w.expectAlive("r2", 0)
		if d, err = w.engine.Rollback(w.t.Context(), "web", "", BusyRefuse, Actor{By: "tester"}); err != nil {
			t.Fatal(err)
		}
		d = w.await(d.Number)
		w.expectPhase(d, PhasePromoted, "")
		w.expectAlive("r2", 2)
		if d.Candidate != "r2" || !d.hasBegun(StepBake) {
			t.Errorf("a rollback to a cold release went to %s with steps %v", d.Candidate, d.Steps)
		}
		if _, err := w.engine.Rollback(w.t.Context(), "web", "r9", BusyRefuse, Actor{}); err == nil || !strings.Contains(err.Error(), "no release r9") {
			t.Errorf("to an unknown release: %v", err)
		}
	})
}

// expectReplay checks that the journal gives the state that the engine has.
func expectReplay(t *testing.T, w *world) {
	t.Helper()
	records, err := w.journal.Read(w.t.Context(), journal.Filter{Service: "web"})
	if err != nil {
		t.Fatal(err)
	}
	replayed := State{Service: "web"}
	for _, r := range records {
		ev, err := eventOf(r)
		if err != nil {
			t.Fatal(err)
		}
		replayed = replayed.apply(ev)
	}
	if got := w.state(); normal(t, got) != normal(t, replayed) {
		t.Errorf("replay gives\n%+v\nthe engine has\n%+v", replayed, got)
	}
}

// normal makes states comparable: what the journal kept has lost the monotonic
// clock and the difference between an empty map and none.
func normal(t *testing.T, s State) string {
	t.Helper()
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "{}", "null")
}

// TestRollbackToAFailedWarmRelease begins it anew.
func TestRollbackToAFailedWarmRelease(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.machine.Script("web", "r2", drivertest.Script{})
		w.deploy(sp)
		w.machine.Kill("web-r1-1")
		time.Sleep(time.Second)
		d, err := w.engine.Rollback(w.t.Context(), "web", "r1", BusyRefuse, Actor{})
		if err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
		w.expectAlive("r1", 2)
	})
}

// TestQueuedRollbackToWhatIsStableByThen changes nothing and ends well.
func TestQueuedRollbackToWhatIsStableByThen(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.deploy(sp)
		first, err := w.engine.Rollback(w.t.Context(), "web", "r1", BusyQueue, Actor{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.engine.Rollback(w.t.Context(), "web", "r1", BusyQueue, Actor{})
		if err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(first.Number), PhasePromoted, "")
		w.expectPhase(w.await(second.Number), PhasePromoted, "")
		w.expectWeights(map[string]int{"r1": 100, "r2": 0})
	})
}

// TestCollectKeepsWhatIsNeeded deploys more releases than are kept.
func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		sp := testSpec(t, "keep: 1")
		for range 5 {
			w.expectPhase(w.deploy(sp), PhasePromoted, "")
		}
		st := w.state()
		var kept []string
		for _, r := range st.Releases {
			if !r.Collected {
				kept = append(kept, r.ID)
			}
		}
		// Stable, the one before it, and one more.
		if want := []string{"r3", "r4", "r5"}; !slices.Equal(kept, want) {
			t.Errorf("kept %v, want %v", kept, want)
		}
		if _, err := w.engine.Rollback(t.Context(), "web", "r1", BusyRefuse, Actor{}); err == nil || !strings.Contains(err.Error(), "were collected") {
			t.Errorf("rollback to what was collected: %v", err)
		}
	})
}

// TestRouteBelongsToOneService refuses a host and path that another service has.
func TestRouteBelongsToOneService(t *testing.T) {
	scenario(t, func(w *world, _ *spec.Spec) {
		other := testSpec(t, "")
		other.Service = "api"
		if _, err := w.request(other, BusyRefuse); err == nil || !strings.Contains(err.Error(), "belongs to service web") {
			t.Errorf("the same route: %v", err)
		}
		other.Route.Paths = []string{"/api"}
		d, err := w.request(other, BusyRefuse)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if d, err = w.engine.Deployment(w.t.Context(), "api", d.Number); err != nil || d.Phase != PhasePromoted {
			t.Errorf("%s: %v", d.Phase, err)
		}
	})
}
