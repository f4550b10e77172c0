//go:build linux

package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

// Config is what a driver needs to know.
type Config struct {
	// Dir holds the driver's own files; one driver at a time may use it. It is
	// made when it isn't there.
	Dir string
	// RunDir holds the instances' run directories, and so their sockets, whose
	// paths the kernel limits to 107 bytes. Empty is "run" in Dir. Users other
	// than the daemon's must be able to pass through to it.
	RunDir string
	// PortMin and PortMax bound the TCP ports that instances get. 0 stands for
	// 20000 and 29999, which lie outside of the range that the kernel takes ports
	// for outgoing connections from.
	PortMin, PortMax int
	// Cgroup is a cgroup2 directory without processes of its own below which
	// instances with limits get their groups. Empty looks for the one that was
	// delegated to the daemon.
	Cgroup string
	Logger *slog.Logger

	// fault is called at each point where a test may want to kill the driver.
	fault func(point string)
}

// Driver runs instances as processes. It implements [driver.Driver].
type Driver struct {
	cfg   Config
	boot  string
	ports *ports
	turns turns
	// cgroups are looked for when the first limit is asked for.
	cgroups func() *cgroups
	// ended is closed when Run has returned.
	ended chan struct{}
	// cannotPunch makes that the log says so only once.
	cannotPunch sync.Once

	mu        sync.Mutex
	instances map[string]*instance
	// unowned are instances that no goroutine of Run supervises yet; wake has
	// a value when there are some.
	unowned  []*instance
	wake     chan struct{}
	watchers map[chan struct{}]bool
}

var _ driver.Driver = (*Driver)(nil)

// Open makes a driver on cfg.Dir and adopts the instances that an earlier one has
// left there. Nothing is supervised before [Driver.Run] runs.
func Open(cfg Config) (*Driver, error) {
	if cfg.PortMin == 0 && cfg.PortMax == 0 {
		cfg.PortMin, cfg.PortMax = 20000, 29999
	}
	if cfg.PortMin < 1 || cfg.PortMax > 65535 || cfg.PortMin > cfg.PortMax {
		return nil, fmt.Errorf("open the process driver: ports from %d to %d are no range", cfg.PortMin, cfg.PortMax)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.fault == nil {
		cfg.fault = func(string) {}
	}
	d := &Driver{
		cfg:       cfg,
		ports:     newPorts(cfg.PortMin, cfg.PortMax),
		ended:     make(chan struct{}),
		instances: map[string]*instance{},
		wake:      make(chan struct{}, 1),
		watchers:  map[chan struct{}]bool{},
	}
	d.cgroups = sync.OnceValue(func() *cgroups { c := findCgroups(cfg.Cgroup); return &c })
	var err error
	if d.boot, err = bootID(); err == nil {
		err = d.makeDirs()
	}
	if err == nil {
		err = d.adopt()
	}
	if err != nil {
		return nil, fmt.Errorf("open the process driver: %w", err)
	}
	// Descriptors that this process was started with, by a careless shell say,
	// aren't for instances to inherit. Those of Go never are.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	return d, nil
}

// Run supervises the instances until ctx ends, and returns nil then. The instances
// live on. It can be called once.
func (d *Driver) Run(ctx context.Context) error {
	defer close(d.ended)
	defer hearHangup()()
	var owners sync.WaitGroup
	defer owners.Wait()
	for {
		for _, in := range d.takeUnowned() {
			owners.Go(func() { in.supervise(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
	}
}

// hearHangup sees to it that instances get SIGHUP as a new process should, also
// when this one was started with nohup. A signal that is ignored stays so in what a
// process starts, and a shell then can't even trap it; one that is caught doesn't, see
// signal(7). Here it is dropped as before. The function returned undoes it.
func hearHangup() (undo func()) {
	if !signal.Ignored(unix.SIGHUP) {
		return func() {}
	}
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, unix.SIGHUP)
	return func() {
		signal.Stop(dropped)
		// Which it is again by now; but only so does Go know it, and the next one who asks.
		signal.Ignore(unix.SIGHUP)
	}
}

// Ensure is part of [driver.Driver]. It needs [Driver.Run] to run. It starts nothing
// before those above n have ended: at no time are there more than there were, or n.
func (d *Driver) Ensure(ctx context.Context, r driver.Release, n int) error {
	if err := checkPlaced(&r); err != nil {
		return fmt.Errorf("start %s of %s: %w", r.ID, r.Service, err)
	}
	end, err := d.turns.take(ctx, r.Service+"/"+r.ID)
	if err != nil {
		return fmt.Errorf("start %s of %s: another call for it is under way: %w", r.ID, r.Service, err)
	}
	defer end()

	there := map[int]bool{}
	var ending []*instance
	for _, in := range d.of(r.Service, r.ID) {
		if in.index > n {
			in.askToStop()
		}
		if in.asked() {
			ending = append(ending, in)
		} else {
			there[in.index] = true
		}
	}
	for _, in := range ending {
		if err := d.await(ctx, in.gone); err != nil {
			return fmt.Errorf("%s hasn't stopped: %w", in.id, err)
		}
	}
	var missing []*instance
	for index := 1; index <= n; index++ {
		if !there[index] {
			missing = append(missing, newInstance(d, r, index))
		}
	}
	if len(missing) > 0 && len(there) == 0 {
		if note := d.missingLimits(r.Limits); note != "" {
			d.cfg.Logger.Warn("a release is started without all of its limits", "service", r.Service, "release", r.ID, "reason", note)
		}
	}
	return d.startAll(ctx, missing)
}

// startAll hands instances to Run and returns when each has been started or has
// failed to.
func (d *Driver) startAll(ctx context.Context, list []*instance) error {
	d.add(list...)
	for _, in := range list {
		select {
		case err := <-in.first:
			if err != nil {
				return fmt.Errorf("start %s: %w", in.id, err)
			}
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w", in.id, context.Cause(ctx))
		case <-d.ended:
			return fmt.Errorf("start %s: %w", in.id, errEnded)
		}
	}
	return nil
}

// List is part of [driver.Driver].
func (d *Driver) List(ctx context.Context) ([]driver.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]driver.Instance, 0, len(d.instances))
	for _, in := range d.instances {
		list = append(list, in.look())
	}
	slices.SortFunc(list, func(a, b driver.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// Remove is part of [driver.Driver]. It needs [Driver.Run] to run.
func (d *Driver) Remove(ctx context.Context, service, release string) error {
	end, err := d.turns.take(ctx, service+"/"+release)
	if err != nil {
		return fmt.Errorf("remove %s of %s: another call for it is under way: %w", release, service, err)
	}
	defer end()
	list := d.of(service, release)
	for _, in := range list {
		in.askToStop()
	}
	for _, in := range list {
		if err := d.await(ctx, in.gone); err != nil {
			return fmt.Errorf("remove %s of %s: %s hasn't stopped: %w", release, service, in.id, err)
		}
	}
	return nil
}

// Watch is part of [driver.Driver]. The channel holds a value from the start.
func (d *Driver) Watch(ctx context.Context) <-chan struct{} {
	w := make(chan struct{}, 1)
	w <- struct{}{}
	d.mu.Lock()
	d.watchers[w] = true
	d.mu.Unlock()
	context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, w)
		close(w)
	})
	return w
}

// ---- Mechanics ----

var errEnded = errors.New("the driver's Run has ended")

// missingLimits says which limits can't be enforced here, and why.
func (d *Driver) missingLimits(l driver.Limits) string {
	if l == (driver.Limits{}) {
		return ""
	}
	return d.cgroups().missing(l)
}

// await waits for a channel to be closed.
func (d *Driver) await(ctx context.Context, closed <-chan struct{}) error {
	select {
	case <-closed:
		return nil
	default:
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.ended:
		return errEnded
	}
}

// add makes instances known and hands them to Run.
func (d *Driver) add(list ...*instance) {
	d.mu.Lock()
	for _, in := range list {
		d.instances[in.id] = in
	}
	d.unowned = append(d.unowned, list...)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
	d.changed()
}

func (d *Driver) takeUnowned() []*instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.unowned
	d.unowned = nil
	return list
}

func (d *Driver) drop(in *instance) {
	d.mu.Lock()
	delete(d.instances, in.id)
	d.mu.Unlock()
	d.changed()
}

// of returns the release's instances in the order of their numbers.
func (d *Driver) of(service, release string) []*instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*instance
	for _, in := range d.instances {
		if in.service == service && in.release == release {
			list = append(list, in)
		}
	}
	slices.SortFunc(list, func(a, b *instance) int { return cmp.Compare(a.index, b.index) })
	return list
}

// changed tells the watchers that List may have changed.
func (d *Driver) changed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// adopt reads the records that an earlier driver has left.
func (d *Driver) adopt() error {
	entries, err := os.ReadDir(d.instancesDir())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(d.instancesDir(), entry.Name())
		id, isRecord := strings.CutSuffix(entry.Name(), ".json")
		switch {
		case strings.HasPrefix(entry.Name(), "."):
			_ = os.Remove(path) // of a write that was never finished
		case isRecord:
			if err := d.adoptRecord(path, id); err != nil {
				return err
			}
		}
	}
	return d.removeStrayLocks(entries)
}

func (d *Driver) adoptRecord(path, id string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rec, err := parseRecord(content, id)
	if err == nil && rec.Port != 0 && !d.ports.keep(rec.Port) {
		err = fmt.Errorf("its port %d is that of another instance", rec.Port)
	}
	if err != nil {
		// Whatever still runs of it is found by its lock, and ended, before an
		// instance of that name is started again.
		d.cfg.Logger.Error("an instance's record can't be read; it is put aside, and the instance no longer supervised",
			"instance", id, "record", path+".unreadable", "error", err)
		return os.Rename(path, path+".unreadable")
	}
	d.add(adopted(d, rec))
	return nil
}

// removeStrayLocks removes lock files that have no record and no holder.
func (d *Driver) removeStrayLocks(entries []os.DirEntry) error {
	for _, entry := range entries {
		id, isLock := strings.CutSuffix(entry.Name(), ".lock")
		if !isLock || d.instances[id] != nil {
			continue
		}
		lock, err := tryLock(d.lockPath(id))
		if err != nil {
			continue
		}
		lock.Close()
		if err := os.Remove(d.lockPath(id)); err != nil {
			return err
		}
	}
	return nil
}

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// checkNames refuses what could lead out of a directory.
func checkNames(service, release string) error {
	for _, name := range []string{service, release} {
		if !nameForm.MatchString(name) {
			return fmt.Errorf("%q is no name of a service or release", name)
		}
	}
	return nil
}
