//go:build linux

package process

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

// order is what a daemon in a process of its own has to do.
type order struct {
	Dir     string
	Release driver.Release
	N       int
	// Remove the release afterwards.
	Remove bool
	// Quiet: don't tell when it is done, but go on until the fault.
	Quiet bool
	// Fault is the point at which it kills itself, at the Nth time.
	Fault string
	Nth   int
}

// beDaemon does its order and tells so in a line.
func beDaemon(args []string) {
	var o order
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		panic(err)
	}
	times := make(chan int, 1)
	times <- 0
	d, err := Open(Config{Dir: o.Dir, fault: func(point string) {
		n := <-times
		if point == o.Fault {
			if n++; n == o.Nth {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}
		times <- n
	}})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	go d.Run(ctx)
	if err := d.Ensure(ctx, o.Release, o.N); err != nil {
		panic(err)
	}
	if o.Remove {
		if err := d.Remove(ctx, o.Release.Service, o.Release.ID); err != nil {
			panic(err)
		}
	}
	if !o.Quiet {
		fmt.Println("done")
	}
	select {}
}

// daemon runs an order in a process of its own until it kills itself, or is done,
// or the time is over, and kills it then.
func (m *machine) daemon(o order, limit time.Duration) {
	m.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	c := exec.CommandContext(ctx, self, "daemon", string(text))
	var trouble strings.Builder
	c.Stderr = &trouble
	out, err := c.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	n, _ := out.Read(make([]byte, 16)) // until it is done or dead
	if n > 0 && o.Fault != "" {
		m.t.Errorf("the daemon got by the point %q without being killed %d times", o.Fault, o.Nth)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	if trouble.Len() > 0 {
		m.t.Fatalf("the daemon that was to be killed said: %s", trouble.String())
	}
}

// takesOver lets a new driver do what the killed one had to, and finds each
// instance exactly once, then none.
func (m *machine) takesOver(r driver.Release, n int) {
	m.t.Helper()
	m.start()
	defer func() { m.stop() }()
	m.ensure(r, n)
	list := m.ready(n)
	addresses := map[string]bool{}
	for _, in := range list {
		addresses[in.Target.Address] = true
		if of := m.processes(in.ID); len(of) != 1 || of[0] != in.Pid {
			m.t.Errorf("%s has the pid %d, and its processes are %v", in.ID, in.Pid, of)
		}
	}
	if all := m.processes(""); len(all) != n || len(addresses) != n {
		m.t.Errorf("want %d processes and addresses, have %v and %v", n, all, addresses)
	}
	m.remove(r)
	for _, dir := range []string{"instances", "run"} {
		if left, err := os.ReadDir(filepath.Join(m.cfg.Dir, dir)); err != nil || len(left) > 0 {
			m.t.Errorf("left over: %v, error %v", left, err)
		}
	}
}

// TestKilledAtEachPoint kills the daemon at each point where something on disk or
// in the process table has changed.
func TestKilledAtEachPoint(t *testing.T) {
	for _, fault := range []string{"intended", "started", "recorded", "stop recorded", "signalled", "ended", "run directory removed", "record removed"} {
		for _, nth := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s %d", fault, nth), func(t *testing.T) {
				m := newMachine(t)
				r := m.release()
				m.daemon(order{Dir: m.cfg.Dir, Release: r, N: 3, Remove: true, Fault: fault, Nth: nth}, patience)
				m.takesOver(r, 3)
			})
		}
	}
}

// TestKilledAtAnyTime kills the daemon again and again at random times, which
// also fall into the middle of a fork.
func TestKilledAtAnyTime(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		m := newMachine(t)
		r := m.release()
		for range 4 {
			o := order{Dir: m.cfg.Dir, Release: r, N: 3, Remove: rand.IntN(3) == 0}
			m.daemon(o, time.Duration(20+rand.IntN(400))*time.Millisecond)
		}
		m.takesOver(r, 3)
	}
}

// TestKilledWhileStartingAgain kills the daemon in the start of an instance
// that had exited.
func TestKilledWhileStartingAgain(t *testing.T) {
	for _, fault := range []string{"intended", "started", "recorded"} {
		t.Run(fault, func(t *testing.T) {
			m := newMachine(t)
			// Exits once, when it is started for the first time.
			r := m.shell(`[ -e "$SEGUE_ARTIFACT_DIR/again" ] || { : >"$SEGUE_ARTIFACT_DIR/again"; exit 3; }; : >"$SEGUE_RUN_DIR/ready"; exec sleep 3600`)
			// A check by a command would be a process that looks like one of the instance's.
			r.Health.Command, r.Health.File = nil, "ready"
			m.daemon(order{Dir: m.cfg.Dir, Release: r, N: 1, Fault: fault, Nth: 2, Quiet: true}, patience)
			m.takesOver(r, 1)
		})
	}
}
