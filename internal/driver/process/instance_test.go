//go:build linux

package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

func TestSaysHowItEnded(t *testing.T) {
	m := startMachine(t)
	for script, want := range map[string]string{
		"exit 7":                       "exited with code 7 after 0.",
		"kill -SEGV $$; sleep 10":      "killed by SIGSEGV after 0.",
		"exec /no/such/program":        "exited with code 127 after 0.",
		"trap '' TERM; kill -KILL $$ ": "killed by SIGKILL after 0.",
	} {
		r := m.shell(script)
		m.ensure(r, 1)
		in := m.in(driver.Failed)
		if !strings.HasPrefix(in.Message, want) || !strings.HasSuffix(in.Message, "(given up after 3 exits and never ready)") {
			t.Errorf("%s: message is %q, want %q and why it was given up", script, in.Message, want)
		}
		m.restart()
		if again := m.in(driver.Failed); again.Message != in.Message {
			t.Errorf("%s: after a restart of the driver %q", script, again.Message)
		}
		m.remove(r)
	}
}

// TestAdoptedFromDeadDaemon: of a process that isn't a child of ours, the end is
// seen, but not how it came.
func TestAdoptedFromDeadDaemon(t *testing.T) {
	m := newMachine(t)
	r := m.release()
	m.daemon(order{Dir: m.cfg.Dir, Release: r, N: 1}, patience)
	m.start()
	defer func() { m.stop() }()
	in := m.ready(1)[0]
	kill(t, in.Pid)
	after := m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Ready })[0]
	if !strings.Contains(after.Message, "how isn't known") || after.Pid == in.Pid {
		t.Errorf("after its end: %+v", after)
	}
	m.remove(r)
}

func TestUnreadyAndReadyAgain(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`: >"$SEGUE_RUN_DIR/ready"; exec sleep 3600`)
	r.Health.Command = []string{"/bin/sh", "-c", `[ -e "$SEGUE_RUN_DIR/ready" ] && exec echo fine; echo looking; echo "no file $0"; exit 4`, "{{.Index}}"}
	m.ensure(r, 1)
	first := m.ready(1)[0]
	file := filepath.Join(m.cfg.RunDir, first.ID, "ready")
	if m.cfg.RunDir == "" {
		file = filepath.Join(m.cfg.Dir, "run", first.ID, "ready")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	in := m.in(driver.Unready)
	if want := "health: check /bin/sh: exited with code 4: no file 1"; in.Message != want || !in.ReadySince.IsZero() {
		t.Errorf("unready: %+v, want the message %q", in, want)
	}
	m.restart()
	if in := m.in(driver.Unready); in.Pid != first.Pid {
		t.Errorf("adopted as %+v", in)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	in = m.in(driver.Ready)
	if in.Message != "" || in.Pid != first.Pid || in.ReadySince.Before(first.ReadySince) {
		t.Errorf("ready again: %+v", in)
	}
}

// TestCantBeAsked: an instance that can't be asked for its health, as the daemon is out of
// descriptors, is as ready as before.
func TestCantBeAsked(t *testing.T) {
	m := startMachine(t)
	r := m.release()
	r.Health.Interval, r.Health.Unhealthy = 5*time.Millisecond, 1
	m.ensure(r, 1)
	first := m.ready(1)[0]
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := func(l unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
	}
	limit(unix.Rlimit{Cur: 3, Max: before.Max})
	time.Sleep(200 * time.Millisecond)
	limit(before)
	if in := m.ready(1)[0]; in.ReadySince != first.ReadySince {
		t.Errorf("it counts as ready since %s, want %s as before", in.ReadySince, first.ReadySince)
	}
	m.remove(r)
}

// TestCheckThatHangs: a check that doesn't end is ended with its children.
func TestCheckThatHangs(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`exec sleep 3600`)
	r.Health.Command = []string{"/bin/sh", "-c", "sleep 3599 & echo waiting; wait"}
	r.Health.Timeout = 300 * time.Millisecond
	m.ensure(r, 1)
	m.until("told", func(l []driver.Instance) bool {
		return l[0].Message == "health: check /bin/sh: no result within 300ms: waiting"
	})
	m.stop()
	eventually(t, "ended", func() bool { return len(m.processes("")) == 1 })
	m.start()
	m.remove(r)
}

// TestNeverReadyInBackoff: the deadline also ends one that exits again and again.
func TestNeverReadyInBackoff(t *testing.T) {
	m := startMachine(t)
	r := m.release()
	r.StartDeadline = time.Minute
	in := makeInstance(m.Driver, record{
		Release: r, Index: 1, Phase: running, RunDir: t.TempDir(),
		FirstStarted: time.Now().Add(-time.Hour), Down: true, Message: "exited with code 3 after 0.1s",
	})
	in.notBefore = time.Now().Add(time.Hour)
	if in.backoff(t.Context()) {
		t.Error("it is to be started again")
	}
	want := "not ready 1m0s after its start: exited with code 3 after 0.1s"
	if view := in.look(); view.State != driver.Failed || view.Message != want {
		t.Errorf("%s: %q, want %q", view.State, view.Message, want)
	}
	if on := m.record(in.id); on.Phase != failed || on.Message != want {
		t.Errorf("on record it is %s: %q", on.Phase, on.Message)
	}
}

func TestWhyNotReady(t *testing.T) {
	const begin = "not ready 1m0s after its start: "
	notify := func(in *instance) { in.rec.Release.Health.Notify, in.mayHaveSpoken = true, true }
	for want, set := range map[string]func(in *instance){
		"no probe of its health has had an answer": func(*instance) {},
		"GET /: 503, want 2xx or 3xx":              func(in *instance) { in.complaint = "health: GET /: 503, want 2xx or 3xx" },
		"GET /: 503; the process before exited with code 3": func(in *instance) {
			in.complaint, in.rec.Message = "health: GET /: 503", "exited with code 3"
		},
		"exited with code 3": func(in *instance) { in.rec.Down, in.rec.Message = true, "exited with code 3" },
		"no probe of its health has had an answer; what it may have said while segue was being started again is lost": notify,
		"hasn't said READY=1; what it may have said while segue was being started again is lost": func(in *instance) {
			notify(in)
			in.complaint = "health: hasn't said READY=1"
		},
		"hasn't said READY=1": func(in *instance) {
			notify(in)
			in.mayHaveSpoken, in.complaint = false, "health: hasn't said READY=1"
		},
	} {
		in := &instance{rec: record{Release: driver.Release{StartDeadline: time.Minute}}}
		set(in)
		if got := in.whyNotReady(); got != begin+want {
			t.Errorf("got %q, want %q", got, begin+want)
		}
	}
}

func TestRunEnded(t *testing.T) {
	m := startMachine(t)
	r := m.release()
	m.ensure(r, 1)
	m.ready(1)
	m.stop()
	if err := m.Ensure(m.ctx(), r, 2); !errors.Is(err, errEnded) {
		t.Errorf("Ensure after the end of Run: %v", err)
	}
	if err := m.Remove(m.ctx(), "web", "r1"); !errors.Is(err, errEnded) {
		t.Errorf("Remove after the end of Run: %v", err)
	}
	if n := len(m.processes("")); n != 1 {
		t.Errorf("%d processes live after the end of Run, want 1", n)
	}
	// What was asked for in vain isn't there later.
	m.start()
	m.ready(1)
	m.remove(r)
}

// TestFullDisk: nothing is started that can't be recorded, and what runs can
// still be removed.
func TestFullDisk(t *testing.T) {
	m := newMachine(t)
	if err := unix.Mount("tmpfs", m.cfg.Dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("needs a small file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(m.cfg.Dir, unix.MNT_DETACH) })
	m.start()
	defer func() { m.stop() }()
	r := m.release()
	m.ensure(r, 1)
	before := m.ready(1)[0]
	full := fill(t, filepath.Join(m.cfg.Dir, "full"))
	if err := m.Ensure(m.ctx(), r, 2); err == nil || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Ensure on a full disk: %v", err)
	}
	if n := len(m.processes("")); n != 1 {
		t.Errorf("%d processes, want the one of before", n)
	}

	// One that dies comes back when there is room again.
	kill(t, before.Pid)
	m.until("unable to start", func(l []driver.Instance) bool { return strings.Contains(l[0].Message, "no space left") })
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	m.ready(1)
	fill(t, full)
	m.remove(r)
}

func fill(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 4096; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return path
}
