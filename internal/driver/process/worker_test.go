//go:build linux

package process

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// jobs is the queue of the workers under test, which are examples/worker: a program
// that knows nothing of these tests.
type jobs struct {
	t   *testing.T
	m   *machine
	dir string
	// artifact is the directory with the worker in it.
	artifact string
}

func newJobs(t *testing.T) *jobs {
	t.Helper()
	j := &jobs{t: t, m: startMachine(t), dir: filepath.Join(t.TempDir(), "queue"), artifact: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(j.artifact, "worker"), "../../../examples/worker")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.MkdirAll(filepath.Join(j.dir, "new"), 0o755); err != nil {
		t.Fatal(err)
	}
	return j
}

// release is one of the workers that goes wrong as behaviour says.
func (j *jobs) release(id, behaviour string) driver.Release {
	r := j.m.release()
	r.ID, r.Dir, r.Command = id, j.artifact, []string{"./worker"}
	r.Env = map[string]string{"QUEUE_DIR": j.dir, "WORKER_BEHAVIOUR": behaviour}
	r.NoAddress, r.StopSignal = true, "USR1"
	r.Health.HTTP, r.Health.Notify = nil, true
	return r
}

// put puts jobs into the queue that take so long.
func (j *jobs) put(takes string, names ...string) {
	j.t.Helper()
	for _, name := range names {
		draft := filepath.Join(j.dir, name)
		if err := os.WriteFile(draft, []byte(takes), 0o600); err != nil {
			j.t.Fatal(err)
		}
		if err := os.Rename(draft, filepath.Join(j.dir, "new", name)); err != nil {
			j.t.Fatal(err)
		}
	}
}

// in counts the jobs in a part of the queue: new, busy or done.
func (j *jobs) in(part string) int {
	entries, _ := os.ReadDir(filepath.Join(j.dir, part))
	return len(entries)
}

// taken waits until no job is new.
func (j *jobs) taken() {
	j.t.Helper()
	eventually(j.t, "taken", func() bool { return j.in("new") == 0 })
}

func (j *jobs) done(n int) {
	j.t.Helper()
	eventually(j.t, "done", func() bool { return j.in("done") == n })
}

// doneBy returns the instance that has done a job.
func (j *jobs) doneBy(name string) string {
	j.t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, "done", name))
	if err != nil {
		j.t.Error(err)
		return ""
	}
	var result struct{ Instance, Error string }
	if err := json.Unmarshal(text, &result); err != nil || result.Error != "" {
		j.t.Errorf("%s: %v %s", name, err, result.Error)
	}
	return result.Instance
}

func (j *jobs) wantCounts(fresh, busy, done int) {
	j.t.Helper()
	if n, b, d := j.in("new"), j.in("busy"), j.in("done"); n != fresh || b != busy || d != done {
		j.t.Errorf("%d jobs are new, %d busy, %d done; want %d, %d, %d", n, b, d, fresh, busy, done)
	}
}

// readyOf waits until n instances of the release are ready.
func (j *jobs) readyOf(id string, n int) {
	j.t.Helper()
	j.m.until(id+" ready", func(list []driver.Instance) bool {
		ready := 0
		for _, in := range list {
			if in.Release == id && in.State == driver.Ready {
				ready++
			}
		}
		return ready == n
	})
}

// TestWorkersHandOver starts a new release beside the old one, which finishes what
// it has begun, and has the daemon restarted in between.
func TestWorkersHandOver(t *testing.T) {
	j := newJobs(t)
	r1, r2 := j.release("r1", "ok"), j.release("r2", "ok")
	j.m.ensure(r1, 2)
	j.readyOf("r1", 2)
	j.put("300ms", "a", "b")
	j.taken()
	j.m.restart()
	j.m.ensure(r1, 2)
	j.m.ensure(r2, 1)
	j.readyOf("r2", 1)
	if err := j.m.Remove(j.m.ctx(), "web", "r1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if by := j.doneBy(name); !strings.HasPrefix(by, "web-r1-") {
			t.Errorf("%s was done by %q", name, by)
		}
	}
	j.put("0s", "c")
	j.done(3)
	if by := j.doneBy("c"); by != "web-r2-1" {
		t.Errorf("c was done by %q", by)
	}
	j.m.remove(r2)
	j.wantCounts(0, 0, 3)
}

// TestWorkersScaleDown has Ensure return when the jobs of those above n are done.
func TestWorkersScaleDown(t *testing.T) {
	j := newJobs(t)
	r := j.release("r1", "ok")
	j.m.ensure(r, 3)
	j.readyOf("r1", 3)
	j.put("500ms", "a", "b", "c")
	j.taken()
	j.m.ensure(r, 1)
	if len(j.m.processes("web-r1-2"))+len(j.m.processes("web-r1-3")) > 0 {
		t.Error("instances above n live")
	}
	left, err := filepath.Glob(filepath.Join(j.dir, "busy", "web-r1-[23]-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("they have left the jobs %v, error %v", left, err)
	}
	j.done(3)
	j.m.remove(r)
	j.wantCounts(0, 0, 3)
}

// TestWorkerBeyondItsGrace loses the job that takes longer than it may.
func TestWorkerBeyondItsGrace(t *testing.T) {
	j := newJobs(t)
	r := j.release("r1", "ok")
	r.StopGrace = 100 * time.Millisecond
	j.m.ensure(r, 1)
	j.readyOf("r1", 1)
	j.put("1h", "a")
	j.taken()
	j.put("0s", "b")
	j.m.remove(r)
	j.wantCounts(1, 1, 0)
}

func TestBadWorkers(t *testing.T) {
	j := newJobs(t)
	for behaviour, want := range map[string]string{
		"never-ready":      "not ready 1s after its start",
		"crash":            "exited with code 1",
		"crash-after=10ms": "",
	} {
		r := j.release("r1", behaviour)
		if behaviour == "never-ready" {
			r.StartDeadline = time.Second
		}
		j.m.ensure(r, 1)
		if want == "" {
			j.m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts >= 1 && l[0].State != driver.Failed })
		} else if in := j.m.in(driver.Failed); !strings.Contains(in.Message, want) {
			t.Errorf("%s: message is %q, want %q in it", behaviour, in.Message, want)
		}
		j.m.remove(r)
	}
}
