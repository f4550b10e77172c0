package drivertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
)

// restartDelay is the time between an exit and the next start on a [Machine].
const restartDelay = 100 * time.Millisecond

// Script tells how the instances of a release behave on a [Machine]. The zero
// value is a release without fault: ready at once, alive until it is stopped.
type Script struct {
	// CheckError and CheckNotes are what Check returns.
	CheckError error
	CheckNotes []string
	// Exec answers the driver's Exec; nil prints nothing and succeeds.
	Exec func(ctx context.Context, command []string, env map[string]string) (output string, err error)

	// StartError is what Ensure returns in place of starting an instance.
	StartError error
	// StartAfter is how long Ensure takes to start the instances.
	StartAfter time.Duration
	// ReadyAfter is the time from a start to readiness.
	ReadyAfter time.Duration
	// NeverReady keeps an instance from getting ready; it fails at the
	// release's StartDeadline, if that isn't 0.
	NeverReady bool
	// ExitAfter is the time from a start to an exit with code 3; 0 is never.
	ExitAfter time.Duration
	// Restarts is how often an instance that has exited is started again
	// before it counts as failed; negative is always.
	Restarts int
	// RefuseStop is how long an instance outlives the request to stop;
	// negative is for ever, until [Machine.Kill].
	RefuseStop time.Duration
	// Lies keeps an instance listed as ready, with its pid, after its exit. With
	// ExitAfter 0 it is dead from the start.
	Lies bool
	// Output is what an instance prints at every start, a line each.
	Output []string
}

// Machine is a scripted machine in memory, on which drivers made by [NewFake]
// run instances. The instances outlive the drivers, so that dropping a driver and
// making another is what a restart of the daemon is.
//
// It starts no goroutines and does no input or output: its clock is package
// time's, so that inside a testing/synctest bubble it is the bubble's. All
// methods may be called at any time.
type Machine struct {
	mu        sync.Mutex
	scripts   map[name]Script
	instances map[string]*process
	logs      map[name]map[string][]string // by instance ID
	most      map[name]int
	starts    map[name]int
	pids      int
	port      int
	watchers  map[chan struct{}]bool
	changed   chan struct{} // closed and replaced at each change
}

type name struct{ service, release string }

// process is an instance on a machine. The machine's mutex guards it.
type process struct {
	driver.Instance
	script   Script
	deadline time.Duration
	alive    bool
	// lastExit is the message about the last exit.
	lastExit string
	// life counts what has happened to the instance, so that a timer of an
	// earlier life does nothing.
	life int
}

// NewMachine returns a machine on which nothing runs.
func NewMachine() *Machine {
	return &Machine{
		scripts:   map[name]Script{},
		instances: map[string]*process{},
		logs:      map[name]map[string][]string{},
		most:      map[name]int{},
		starts:    map[name]int{},
		pids:      1000,
		port:      20000,
		watchers:  map[chan struct{}]bool{},
		changed:   make(chan struct{}),
	}
}

// Script sets how instances of a release behave that are made from now on.
func (m *Machine) Script(service, release string, s Script) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scripts[name{service, release}] = s
}

// Kill ends an instance's process from outside, as kill -9 does. A refusal to
// stop ends with it. It does nothing when there is no such process.
func (m *Machine) Kill(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.instances[id]
	switch {
	case p == nil || !p.alive:
	case p.State == driver.Stopping:
		m.end(p)
	default:
		m.exit(p, "killed by SIGKILL")
	}
}

// SetReady opens or closes an instance's health gate, as if it began or stopped
// to answer. It does nothing unless the instance is alive and not stopping.
func (m *Machine) SetReady(id string, ready bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.instances[id]
	if p == nil || !p.alive || p.State == driver.Stopping {
		return
	}
	p.life++
	if ready {
		m.ready(p)
		return
	}
	p.State, p.Message = driver.Unready, "health: GET /healthz: 503, want 2xx or 3xx"
	m.notify()
}

// Alive counts the release's processes that live, whatever a driver says.
func (m *Machine) Alive(service, release string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alive(name{service, release})
}

// MostAlive is the highest number that Alive has ever had.
func (m *Machine) MostAlive(service, release string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most[name{service, release}]
}

// Starts counts the starts of processes of the release, restarts included.
func (m *Machine) Starts(service, release string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts[name{service, release}]
}

func (m *Machine) script(service, release string) Script {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.scripts[name{service, release}]
}

// ---- With the mutex held ----

func (m *Machine) alive(of name) int {
	n := 0
	for _, p := range m.instances {
		if p.alive && of == (name{p.Service, p.Release}) {
			n++
		}
	}
	return n
}

// notify tells the watchers that List may have changed.
func (m *Machine) notify() {
	for w := range m.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// after calls f with the mutex held unless something else has happened to p by
// then.
func (m *Machine) after(d time.Duration, p *process, f func()) {
	life := p.life
	time.AfterFunc(d, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if p.life == life {
			f()
		}
	})
}

func (m *Machine) create(r driver.Release, index int) {
	m.port++
	p := &process{
		Instance: driver.Instance{
			ID:      fmt.Sprintf("%s-%s-%d", r.Service, r.ID, index),
			Service: r.Service, Release: r.ID, Index: index,
			Target: health.Target{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", m.port)},
		},
		script:   m.scripts[name{r.Service, r.ID}],
		deadline: r.StartDeadline,
	}
	if r.Socket {
		p.Target = health.Target{Network: "unix", Address: "/run/" + p.ID + "/sock"}
	}
	m.instances[p.ID] = p
	m.start(p)
}

func (m *Machine) start(p *process) {
	of := name{p.Service, p.Release}
	m.pids++
	p.life++
	p.alive, p.State, p.Pid, p.Started = true, driver.Starting, m.pids, time.Now()
	m.starts[of]++
	m.most[of] = max(m.most[of], m.alive(of))
	if m.logs[of] == nil {
		m.logs[of] = map[string][]string{}
	}
	m.logs[of][p.ID] = append(m.logs[of][p.ID], p.script.Output...)

	switch s := p.script; {
	case s.Lies && s.ExitAfter == 0:
		m.ready(p)
		p.alive = false
		return
	case s.NeverReady:
		if p.deadline > 0 {
			m.after(p.deadline, p, func() {
				m.fail(p, fmt.Sprintf("not ready %v after its start: GET /healthz: connection refused", p.deadline))
			})
		}
	case s.ReadyAfter == 0:
		m.ready(p)
	default:
		m.after(s.ReadyAfter, p, func() { m.ready(p) })
	}
	if d := p.script.ExitAfter; d > 0 {
		m.after(d, p, func() { m.exit(p, fmt.Sprintf("exited with code 3 after %v", d)) })
	}
	m.notify()
}

func (m *Machine) ready(p *process) {
	p.State, p.ReadySince, p.Message = driver.Ready, time.Now(), p.lastExit
	m.notify()
}

// exit is the end of a process that nobody asked for.
func (m *Machine) exit(p *process, message string) {
	p.life++
	p.alive = false
	p.lastExit = message
	switch s := p.script; {
	case s.Lies:
		return // nobody is told
	case s.Restarts >= 0 && p.Restarts >= s.Restarts:
		m.fail(p, message)
	default:
		p.State, p.Pid, p.Message, p.ReadySince = driver.Backoff, 0, message, time.Time{}
		m.after(restartDelay, p, func() {
			p.Restarts++
			m.start(p)
		})
		m.notify()
	}
}

func (m *Machine) fail(p *process, message string) {
	p.life++
	p.alive = false
	p.State, p.Pid, p.Message, p.ReadySince = driver.Failed, 0, message, time.Time{}
	m.notify()
}

// stop asks an instance to stop; it ends now, later, or never.
func (m *Machine) stop(p *process) {
	if p.State == driver.Stopping {
		return
	}
	p.life++
	p.State = driver.Stopping
	switch d := p.script.RefuseStop; {
	case !p.alive || d == 0:
		m.end(p)
		return
	case d > 0:
		m.after(d, p, func() { m.end(p) })
	}
	m.notify()
}

// end is the end of an instance that was asked to stop.
func (m *Machine) end(p *process) {
	p.life++
	p.alive = false
	delete(m.instances, p.ID)
	m.notify()
}
