package drivertest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// Fake is a [driver.Driver] whose instances live on a [Machine]. Any number of
// them can be on one machine; each knows of all the machine's instances.
type Fake struct{ m *Machine }

var _ driver.Driver = (*Fake)(nil)

// NewFake returns a driver on m.
func NewFake(m *Machine) *Fake { return &Fake{m} }

// Ensure is part of [driver.Driver]. Instances that refuse to stop block it: those
// above n, and those that it has to start others in place of.
func (f *Fake) Ensure(ctx context.Context, r driver.Release, n int) error {
	of := name{r.Service, r.ID}
	s := f.m.script(r.Service, r.ID)
	if err := check(&r); err != nil {
		return fmt.Errorf("start %s of %s: %w", r.ID, r.Service, err)
	}
	if err := sleep(ctx, s.StartAfter); err != nil {
		return fmt.Errorf("start %s of %s: %w", r.ID, r.Service, err)
	}
	var failed error
	err := f.until(ctx, func() bool {
		for _, p := range f.m.instances {
			if p.of(of) && p.Index > n {
				f.m.stop(p)
			}
		}
		if f.any(func(p *process) bool { return p.of(of) && p.State == driver.Stopping }) {
			return false
		}
		failed = f.start(r, n)
		return true
	})
	if err != nil {
		return fmt.Errorf("start %s of %s: an instance hasn't stopped: %w", r.ID, r.Service, err)
	}
	return failed
}

// Check is part of [driver.Driver].
func (f *Fake) Check(ctx context.Context, r driver.Release) (notes []string, err error) {
	s := f.m.script(r.Service, r.ID)
	return s.CheckNotes, cmp.Or(ctx.Err(), check(&r), s.CheckError)
}

// Exec is part of [driver.Driver].
func (f *Fake) Exec(ctx context.Context, r driver.Release, command []string, env map[string]string) (output string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("run %s: %w", command[0], err)
	}
	if s := f.m.script(r.Service, r.ID); s.Exec != nil {
		return s.Exec(ctx, command, env)
	}
	return "", nil
}

// List is part of [driver.Driver].
func (f *Fake) List(ctx context.Context) ([]driver.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	list := make([]driver.Instance, 0, len(f.m.instances))
	for _, p := range f.m.instances {
		list = append(list, p.Instance)
	}
	slices.SortFunc(list, func(a, b driver.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Remove is part of [driver.Driver].
func (f *Fake) Remove(ctx context.Context, service, release string) error {
	of := name{service, release}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove %s of %s: %w", release, service, err)
	}
	f.m.mu.Lock()
	for _, p := range f.m.instances {
		if p.of(of) {
			f.m.stop(p)
		}
	}
	f.m.mu.Unlock()
	err := f.until(ctx, func() bool { return !f.any(func(p *process) bool { return p.of(of) }) })
	if err != nil {
		return fmt.Errorf("remove %s of %s: an instance hasn't stopped: %w", release, service, err)
	}
	return nil
}

// Logs is part of [driver.Driver].
func (f *Fake) Logs(ctx context.Context, w io.Writer, service, release string, o driver.LogOptions) error {
	seen := map[string]int{}
	for first := true; ; first = false {
		f.m.mu.Lock()
		logs := maps.Clone(f.m.logs[name{service, release}])
		changed := f.m.changed
		f.m.mu.Unlock()
		if first {
			if logs == nil || o.Instance != "" && logs[o.Instance] == nil {
				return fmt.Errorf("logs of %s %s %s: %w", service, release, o.Instance, driver.ErrNoLogs)
			}
			for id, lines := range logs {
				if o.Tail >= 0 {
					seen[id] = max(0, len(lines)-o.Tail)
				}
			}
		}
		for _, id := range slices.Sorted(maps.Keys(logs)) {
			if o.Instance != "" && o.Instance != id {
				continue
			}
			for _, line := range logs[id][seen[id]:] {
				if o.Instance == "" {
					line = id + "| " + line
				}
				if _, err := io.WriteString(w, line+"\n"); err != nil {
					return fmt.Errorf("write the logs of %s %s: %w", service, release, err)
				}
			}
			seen[id] = len(logs[id])
		}
		if !o.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// CollectLogs is part of [driver.Driver].
func (f *Fake) CollectLogs(ctx context.Context, keep func(service, release string) bool) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("collect logs: %w", err)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for of := range f.m.logs {
		if !f.any(func(p *process) bool { return p.of(of) }) && !keep(of.service, of.release) {
			delete(f.m.logs, of)
		}
	}
	return nil
}

// Watch is part of [driver.Driver].
func (f *Fake) Watch(ctx context.Context) <-chan struct{} {
	w := make(chan struct{}, 1)
	w <- struct{}{}
	f.m.mu.Lock()
	f.m.watchers[w] = true
	f.m.mu.Unlock()
	context.AfterFunc(ctx, func() {
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		delete(f.m.watchers, w)
		close(w)
	})
	return w
}

// ---- Mechanics ----

func (p *process) of(n name) bool { return n == (name{p.Service, p.Release}) }

// check holds a release to what every driver asks of one.
func check(r *driver.Release) error {
	if _, err := r.Signal(); err != nil {
		return err
	}
	for _, command := range [][]string{r.Command, r.Health.Command} {
		if len(command) == 0 {
			continue
		}
		if _, err := r.Arguments(command, driver.Vars{}); err != nil {
			return err
		}
	}
	return nil
}

// start starts what is missing of instances 1 to n. The mutex is held.
func (f *Fake) start(r driver.Release, n int) error {
	s := f.m.scripts[name{r.Service, r.ID}]
	for index := 1; index <= n; index++ {
		if f.m.instances[instanceID(r, index)] != nil {
			continue
		}
		if s.StartError != nil {
			return fmt.Errorf("start %s: %w", instanceID(r, index), s.StartError)
		}
		f.m.create(r, index)
	}
	return nil
}

func instanceID(r driver.Release, index int) string {
	return fmt.Sprintf("%s-%s-%d", r.Service, r.ID, index)
}

func (f *Fake) any(is func(*process) bool) bool {
	for _, p := range f.m.instances {
		if is(p) {
			return true
		}
	}
	return false
}

// until waits for done, which is called with the mutex held.
func (f *Fake) until(ctx context.Context, done func() bool) error {
	for {
		f.m.mu.Lock()
		ok, changed := done(), f.m.changed
		f.m.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
