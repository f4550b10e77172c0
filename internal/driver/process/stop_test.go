//go:build linux

package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestNothingOutlives has children that ignore SIGTERM, in the leader's group and
// out of it, end with the leader: when it is stopped, when it dies, and when it has
// died while no driver ran.
func TestNothingOutlives(t *testing.T) {
	for _, child := range []string{"group", "setsid"} {
		start := func(t *testing.T) (*machine, driver.Release, driver.Instance) {
			m := startMachine(t)
			r := m.release("-child=" + child)
			r.StopGrace = 100 * time.Millisecond
			m.ensure(r, 1)
			in := m.ready(1)[0]
			if n := len(m.processes(in.ID)); n != 2 {
				t.Fatalf("%d processes, want the leader and its child", n)
			}
			return m, r, in
		}
		t.Run(child+"/removed", func(t *testing.T) {
			m, r, _ := start(t)
			m.remove(r)
		})
		t.Run(child+"/adopted and removed", func(t *testing.T) {
			m, r, _ := start(t)
			m.restart()
			m.remove(r)
		})
		t.Run(child+"/died", func(t *testing.T) {
			m, r, in := start(t)
			before := m.processes(in.ID)
			kill(t, in.Pid)
			m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Ready })
			for _, pid := range m.processes(in.ID) {
				for _, old := range before {
					if pid == old {
						t.Errorf("process %d of before lives", pid)
					}
				}
			}
			m.remove(r)
		})
		t.Run(child+"/died alone", func(t *testing.T) {
			m, r, in := start(t)
			m.stop()
			kill(t, in.Pid)
			eventually(t, "dead", func() bool { s, err := readStat(in.Pid); return err != nil || s.zombie })
			m.start()
			m.until("started again", func(l []driver.Instance) bool { return l[0].Restarts == 1 && l[0].State == driver.Ready })
			if n := len(m.processes(in.ID)); n != 2 {
				t.Errorf("%d processes, want 2", n)
			}
			m.remove(r)
		})
	}
}

// TestGraceForChildren stops a shell that dies of SIGTERM at once while its child
// still has work to do.
func TestGraceForChildren(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`
		sh -c 'trap "sleep 0.3; : >\"$SEGUE_ARTIFACT_DIR/finished\"; exit" TERM; : >"$SEGUE_RUN_DIR/ready"; while :; do sleep 0.05; done' &
		wait`)
	m.ensure(r, 1)
	m.ready(1)
	m.remove(r)
	if _, err := os.Stat(filepath.Join(r.Dir, "finished")); err != nil {
		t.Errorf("the child wasn't allowed to finish: %v", err)
	}
}

// TestStopSignalForLeader stops a shell by a signal of its own, which finishes its
// job. The job itself would die of that signal.
func TestStopSignalForLeader(t *testing.T) {
	for _, restart := range []bool{false, true} {
		m := startMachine(t)
		r := m.shell(`
			trap 'stop=1' USR1
			while [ -z "$stop" ]; do
				: >"$SEGUE_RUN_DIR/ready"
				sh -c 'sleep 0.3; : >"$SEGUE_ARTIFACT_DIR/job"' || exit 1
			done
			rm "$SEGUE_ARTIFACT_DIR/job"
			sleep 0.1 && : >"$SEGUE_ARTIFACT_DIR/finished"`)
		r.StopSignal = "USR1"
		m.ensure(r, 1)
		m.ready(1)
		if restart {
			m.restart()
		}
		m.remove(r)
		if _, err := os.Stat(filepath.Join(r.Dir, "finished")); err != nil {
			t.Errorf("it wasn't allowed to finish its job: %v", err)
		}
	}
}

// TestRestIsAskedByTerm: what a leader leaves behind that was stopped by a signal
// of its own is asked, too.
func TestRestIsAskedByTerm(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`
		trap 'exit' HUP
		setsid sh -c 'trap "sleep 0.3; : >\"$SEGUE_ARTIFACT_DIR/finished\"; exit" TERM; : >"$SEGUE_RUN_DIR/ready"; while :; do sleep 0.05; done' &
		while :; do sleep 0.05; done`)
	r.StopSignal = "HUP"
	m.ensure(r, 1)
	m.ready(1)
	m.remove(r)
	if _, err := os.Stat(filepath.Join(r.Dir, "finished")); err != nil {
		t.Errorf("the child wasn't asked to stop: %v", err)
	}
}

// TestHangupUnderNohup runs that twice more, where SIGHUP is ignored as by nohup(1).
func TestHangupUnderNohup(t *testing.T) {
	again := exec.Command("/bin/sh", "-c", `trap '' HUP; exec "$0" -test.count=2 -test.run='^TestRestIsAskedByTerm$'`, os.Args[0])
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestStopSignalIgnored is the way to SIGKILL.
func TestStopSignalIgnored(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`trap '' WINCH; : >"$SEGUE_RUN_DIR/ready"; while :; do sleep 0.05; done`)
	r.StopSignal, r.StopGrace = "WINCH", 100*time.Millisecond
	m.ensure(r, 2)
	m.ready(2)
	m.ensure(r, 1)
	if n := len(m.processes("web-r1-2")); n > 0 {
		t.Errorf("%d processes of an instance above n live", n)
	}
	m.ready(1)
}

func TestRemoveInBackoff(t *testing.T) {
	m := startMachine(t)
	r := m.release("-exit=3")
	m.ensure(r, 1)
	m.in(driver.Backoff)
	m.remove(r)
	if list, err := m.List(m.ctx()); err != nil || len(list) > 0 {
		t.Errorf("left: %v, error %v", list, err)
	}
}

// TestRemoveCutShortIsFinished: the daemon is restarted while an instance stops, and
// nobody asks again.
func TestRemoveCutShortIsFinished(t *testing.T) {
	m := startMachine(t)
	r := m.release("-stops-after=1h")
	m.ensure(r, 1)
	in := m.ready(1)[0]
	ctx, cancel := context.WithTimeout(m.ctx(), 100*time.Millisecond)
	defer cancel()
	if m.Remove(ctx, "web", "r1") == nil {
		t.Fatal("Remove has returned early")
	}
	m.restart()
	m.in(driver.Stopping)
	kill(t, in.Pid)
	m.until("gone", func(l []driver.Instance) bool { return len(l) == 0 })
}

// TestRecycledPid makes the record of an instance name a stranger's process, as
// it does when the instance has died and its pid has been used again.
func TestRecycledPid(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *record, stranger stat)
	}{
		{"other start time", func(r *record, s stat) { r.Pid, r.Ticks = s.pid, s.ticks-1 }},
		{"other boot", func(r *record, s stat) { r.Pid, r.Ticks, r.Boot = s.pid, s.ticks, "another" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			stranger := exec.Command("sleep", "3600")
			stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := stranger.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
			s, err := readStat(stranger.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}

			m := startMachine(t)
			r := m.release()
			m.ensure(r, 1)
			in := m.ready(1)[0]
			m.stop()
			kill(t, in.Pid)
			eventually(t, "dead", func() bool { return len(m.processes("")) == 0 })
			rec := m.record(in.ID)
			c.change(&rec, s)
			if err := rec.save(m.recordPath(in.ID)); err != nil {
				t.Fatal(err)
			}
			m.start()
			if again := m.ready(1)[0]; again.Pid == s.pid {
				t.Error("the stranger was adopted")
			}
			m.remove(r)
			if now, err := readStat(s.pid); err != nil || now.zombie {
				t.Errorf("the stranger was killed: %+v, error %v", now, err)
			}
		})
	}
}

func (m *machine) record(id string) record {
	m.t.Helper()
	text, err := os.ReadFile(m.recordPath(id))
	if err != nil {
		m.t.Fatal(err)
	}
	rec, err := parseRecord(text, id)
	if err != nil {
		m.t.Fatal(err)
	}
	return rec
}

// TestUnreadableRecord: the driver opens in spite of it, and what still runs is
// ended before an instance of that name is started again.
func TestUnreadableRecord(t *testing.T) {
	for _, content := range []string{"", "{", `{"phase":"running"}`, strings.Repeat("\x00", 100)} {
		m := startMachine(t)
		r := m.release()
		m.ensure(r, 1)
		before := m.ready(1)[0]
		m.stop()
		if err := os.WriteFile(m.recordPath(before.ID), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		m.start()
		m.ensure(r, 1)
		after := m.ready(1)[0]
		if of := m.processes(""); len(of) != 1 || of[0] != after.Pid || after.Pid == before.Pid {
			t.Errorf("before %d, after %d, processes %v", before.Pid, after.Pid, of)
		}
		m.stop()
	}
}

// TestTitleOverEnvironment adopts a process that has no marker any more, as those
// have that write a title over their environment.
func TestTitleOverEnvironment(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`: >"$SEGUE_RUN_DIR/ready"; exec env -i sleep 3600`)
	m.ensure(r, 1)
	in := m.ready(1)[0]
	eventually(t, "without environment", func() bool { return len(m.processes("")) == 0 })
	// The record says no more than that a start was intended.
	m.stop()
	rec := m.record(in.ID)
	rec.Pid, rec.Ticks, rec.ReadySince, rec.WasReady = 0, 0, time.Time{}, false
	if err := rec.save(m.recordPath(in.ID)); err != nil {
		t.Fatal(err)
	}
	m.start()
	m.ensure(r, 1)
	if again := m.ready(1)[0]; again.Pid != in.Pid {
		t.Errorf("a second copy, %d, was started beside %d", again.Pid, in.Pid)
	}
	m.remove(r)
	if s, err := readStat(in.Pid); err == nil && !s.zombie {
		t.Errorf("it lives: %+v", s)
	}
}
