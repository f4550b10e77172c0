package drivertest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
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
	mostOf    map[string]int // by service
	together  map[pair]bool
	starts    map[name]int
	signals   map[name][]string
	pids      int
	port      int
	watchers  map[chan struct{}]bool
	changed   chan struct{} // closed and replaced at each change
}

type name struct{ service, release string }

// pair are two releases of a service in the order of their names.
type pair struct{ service, a, b string }

func pairOf(service, a, b string) pair { return pair{service, min(a, b), max(a, b)} }

// process is an instance on a machine. The machine's mutex guards it.
type process struct {
	driver.Instance
	script   Script
	deadline time.Duration
	// signal is what it is asked to stop by.
	signal string
	alive  bool
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
		mostOf:    map[string]int{},
		together:  map[pair]bool{},
		starts:    map[name]int{},
		signals:   map[name][]string{},
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
	p.State, p.ReadySince, p.Message = driver.Unready, time.Time{}, "health: GET /healthz: 503, want 2xx or 3xx"
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

// MostAliveOf is the highest number of processes of the service that have ever
// lived at once, over all its releases.
func (m *Machine) MostAliveOf(service string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mostOf[service]
}

// EverTogether reports whether processes of the service's releases a and b have
// ever lived at once; of a release and itself, two of its own.
func (m *Machine) EverTogether(service, a, b string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.together[pairOf(service, a, b)]
}

// Together returns the pairs of the service's releases that EverTogether is true of,
// in order.
func (m *Machine) Together(service string) [][2]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list [][2]string
	for p := range m.together {
		if p.service == service {
			list = append(list, [2]string{p.a, p.b})
		}
	}
	slices.SortFunc(list, func(x, y [2]string) int { return slices.Compare(x[:], y[:]) })
	return list
}

// ResetMost has MostAlive and MostAliveOf of the service, EverTogether and Together
// begin anew, with what lives now.
func (m *Machine) ResetMost(service string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.most, func(of name, _ int) bool { return of.service == service })
	maps.DeleteFunc(m.together, func(p pair, _ bool) bool { return p.service == service })
	delete(m.mostOf, service)
	for _, p := range m.instances {
		if p.Service == service && p.alive {
			m.count(p)
		}
	}
}

// StopSignals returns the signals by which living processes of the release were
// asked to stop, one for each process, in the order of the requests.
func (m *Machine) StopSignals(service, release string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.signals[name{service, release}])
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

// count enters p, which lives, into what has ever lived at once.
func (m *Machine) count(p *process) {
	of, all := name{p.Service, p.Release}, 0
	for _, other := range m.instances {
		if !other.alive || other.Service != p.Service {
			continue
		}
		all++
		if other != p {
			m.together[pairOf(p.Service, p.Release, other.Release)] = true
		}
	}
	m.most[of] = max(m.most[of], m.alive(of))
	m.mostOf[p.Service] = max(m.mostOf[p.Service], all)
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
	p := &process{
		Instance: driver.Instance{
			ID: instanceID(r, index), Service: r.Service, Release: r.ID, Index: index,
		},
		script:   m.scripts[name{r.Service, r.ID}],
		deadline: r.StartDeadline,
		signal:   cmp.Or(r.StopSignal, driver.DefaultStopSignal),
	}
	switch {
	case r.NoAddress:
	case r.Socket:
		p.Target = health.Target{Network: "unix", Address: "/run/" + p.ID + "/sock"}
	default:
		m.port++
		p.Target = health.Target{Network: "tcp", Address: fmt.Sprintf("127.0.0.1:%d", m.port)}
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
	if m.logs[of] == nil {
		m.logs[of] = map[string][]string{}
	}
	m.logs[of][p.ID] = append(m.logs[of][p.ID], p.script.Output...)

	if s := p.script; s.Lies && s.ExitAfter == 0 {
		p.alive = false
		m.ready(p)
		return
	}
	m.count(p)
	switch s := p.script; {
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
	if p.alive {
		of := name{p.Service, p.Release}
		m.signals[of] = append(m.signals[of], p.signal)
	}
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
