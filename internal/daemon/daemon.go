// Package daemon is `segue serve` as a value: [Open] takes what the daemon
// needs, [Daemon.Run] works until its context ends, [Daemon.Close] lets go.
//
// The daemon owns the listening sockets and starts the proxy on them, but is not
// needed for traffic: when it ends, the proxy and the instances go on, and the
// next daemon finds both again. The proxy it finds by its control socket, from
// which it also takes the listening sockets back; the instances are found by the
// driver. See proxy.go for the proxy's supervision.
//
// A state directory belongs to one daemon at a time; a lock says so.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/segue-deploy/segue/internal/api"
	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/driver/process"
	"github.com/segue-deploy/segue/internal/journal"
)

const (
	// stopGrace is what requests in flight get when everything is stopped on
	// purpose.
	stopGrace = 10 * time.Second
	// stopTimeout is how long instances may take to end then.
	stopTimeout = 5 * time.Minute
)

// ErrLocked says that another daemon has the state directory.
var ErrLocked = errors.New("another segue daemon has the state directory")

// Config is what a daemon is made of.
type Config struct {
	// StateDir holds everything that outlives the daemon.
	StateDir string
	// Listen are the addresses for clients ("host:port"). They count when no
	// proxy runs that has sockets already, and systemd passes none.
	Listen []string
	// Proxy are arguments that are handed on to the proxy when one is started.
	Proxy []string
	// PortMin and PortMax bound the ports that instances get.
	PortMin, PortMax int
	// ArtifactLimit is the most bytes that one artifact may have.
	ArtifactLimit int64
	// Version is Segue's own.
	Version string
	// Binary is where an upgrade looks for the new one.
	Binary string
	Logger *slog.Logger
	// AfterAppend is handed to the engine.
	AfterAppend func(deploy.Event)
	// AtUpgrade is called in the middle of a proxy's upgrade with the pid of the new one:
	// when it is launched, and when it has taken over; nil for none.
	AtUpgrade func(point string, pid int)
}

// Daemon is a running `segue serve`.
type Daemon struct {
	cfg     Config
	lock    *os.File
	journal *journal.Journal
	driver  *process.Driver
	proxy   *proxyKeeper
	engine  *deploy.Engine
	api     *api.Server
	socket  net.Listener

	// stopAll is called to stop everything; stopping is closed then.
	stopAll  func()
	stopping chan struct{}
	// becomes has the daemon go on as another binary; becoming is closed when next is known.
	// keptSocket is the API's then.
	becomes    func(path string)
	becoming   chan struct{}
	next       string
	keptSocket int
}

// SocketPath is where the daemon of a state directory listens.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, "segue.sock") }

// Open takes the state directory and finds out what of an earlier daemon's still
// runs. It starts nothing.
func Open(ctx context.Context, cfg Config) (d *Daemon, err error) {
	d = &Daemon{cfg: cfg, stopping: make(chan struct{}), becoming: make(chan struct{})}
	d.stopAll = sync.OnceFunc(func() { close(d.stopping) })
	var once sync.Once
	d.becomes = func(path string) {
		once.Do(func() {
			d.next = path
			close(d.becoming)
		})
	}
	inherited, err := inheritedSocket()
	if err != nil {
		return d, err
	}
	d.socket = inherited
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			d = nil
		}
	}()
	if d.lock, err = lockStateDir(cfg.StateDir); err != nil {
		return d, err
	}
	if d.journal, err = journal.Open(ctx, filepath.Join(cfg.StateDir, "journal.db")); err != nil {
		return d, err
	}
	artifacts, err := artifact.Open(filepath.Join(cfg.StateDir, "artifacts"), cfg.ArtifactLimit)
	if err != nil {
		return d, err
	}
	d.driver, err = process.Open(process.Config{
		Dir:     filepath.Join(cfg.StateDir, "driver"),
		PortMin: cfg.PortMin, PortMax: cfg.PortMax,
		Logger: cfg.Logger.With("part", "driver"),
	})
	if err != nil {
		return d, err
	}
	if d.proxy, err = openProxyKeeper(ctx, cfg); err != nil {
		return d, err
	}
	d.engine = deploy.New(deploy.Config{
		Journal: d.journal, Driver: d.driver, Traffic: d.proxy.traffic, Artifacts: artifacts,
		LookupEnv: os.LookupEnv, Logger: cfg.Logger.With("part", "engine"), AfterAppend: cfg.AfterAppend,
	})
	d.api = &api.Server{
		Engine:  d.engine,
		Version: api.Version{Version: cfg.Version, Go: runtime.Version(), Pid: os.Getpid(), Started: time.Now()},
		StopAll: d.stopAll, Upgrade: d.upgrade, UpgradeProxy: d.upgradeProxy, Proxies: d.proxies,
		Logger: cfg.Logger.With("part", "api"),
	}
	if d.socket == nil {
		d.socket, err = listenAPI(ctx, cfg.StateDir)
	}
	return d, err
}

// Run works until ctx ends, which leaves the proxy and the instances running, or
// until a client asks to stop everything, which does not.
func (d *Daemon) Run(ctx context.Context) error {
	return d.withDriver(ctx, func(ctx context.Context) error {
		if err := d.work(ctx); err != nil || ctx.Err() != nil || d.next != "" {
			return err
		}
		return d.stopEverything(ctx)
	})
}

// StopAll stops the proxy and all instances, without a daemon at work. The
// journal still says that they should run: the next daemon starts them.
func (d *Daemon) StopAll(ctx context.Context) error { return d.withDriver(ctx, d.stopEverything) }

// withDriver lets the driver run while f does, since nothing can be started or
// stopped without it.
func (d *Daemon) withDriver(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	driverCtx, stopDriver := context.WithCancel(context.WithoutCancel(ctx))
	driverEnded := make(chan error, 1)
	go func() {
		driverEnded <- d.driver.Run(driverCtx)
		cancel()
	}()
	err := f(ctx)
	stopDriver()
	cancel()
	return errors.Join(err, <-driverEnded)
}

// work is what a daemon does until ctx ends or everything is to be stopped.
func (d *Daemon) work(parent context.Context) error {
	ctx, cancel := context.WithCancel(parent)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	run := func(part string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				select {
				case failed <- fmt.Errorf("%s: %w", part, err):
				default: // Another part failed first, and this one because of it.
				}
			}
		})
	}
	wg.Go(func() { d.proxy.run(ctx, d.engine.ProxyStarted) })
	wg.Go(func() { d.announce(ctx) })
	run("engine", d.engine.Run)
	run("api", func(ctx context.Context) error { return d.api.Serve(ctx, d.socket) })

	var err error
	goesOn := false
	select {
	case <-parent.Done():
	case <-d.stopping:
	case <-d.becoming:
		goesOn = true
		err = d.keepSocket()
	case err = <-failed:
	}
	if !goesOn {
		d.notify(systemd.SdNotifyStopping)
	}
	cancel()
	wg.Wait()
	return err
}

// announce tells systemd and the log that everything is up.
func (d *Daemon) announce(ctx context.Context) {
	select {
	case <-d.proxy.up:
	case <-ctx.Done():
		return
	}
	d.cfg.Logger.Info("ready", "listen", d.proxy.addresses(), "socket", SocketPath(d.cfg.StateDir), "version", d.cfg.Version)
	d.notify(systemd.SdNotifyReady)
}

func (d *Daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.cfg.Logger.Warn("notify systemd", "error", err)
	}
}

// stopEverything stops the proxy, after the requests in flight, and then all
// instances.
func (d *Daemon) stopEverything(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	errs := []error{d.proxy.stop(ctx, stopGrace)}
	instances, err := d.driver.List(ctx)
	errs = append(errs, err)
	type release struct{ service, id string }
	releases := map[release]bool{}
	for _, in := range instances {
		releases[release{in.Service, in.Release}] = true
	}
	var (
		wg sync.WaitGroup
		mu sync.Mutex
	)
	for r := range releases {
		wg.Go(func() {
			err := d.driver.Remove(ctx, r.service, r.id)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Close lets go of the state directory. What Open could not make is left out.
func (d *Daemon) Close() error {
	var errs []error
	if d.socket != nil {
		errs = append(errs, ignoreClosed(d.socket.Close()))
	}
	if d.proxy != nil {
		errs = append(errs, d.proxy.close())
	}
	if d.journal != nil {
		errs = append(errs, d.journal.Close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// lockStateDir makes the directory and locks it. The kernel frees the lock when
// the daemon ends, however it ends.
func lockStateDir(dir string) (*os.File, error) {
	// Instances of other users pass through it to their artifacts.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make the state directory: %w; choose another with --state-dir", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the state directory: %w; run as the user who owns it, or choose another with --state-dir", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w %s; stop it, or choose another with --state-dir", ErrLocked, dir)
	}
	return f, nil
}

// listenAPI opens the API's socket for the owner and the group. Holding the
// lock, the daemon may remove what a dead one left.
func listenAPI(ctx context.Context, stateDir string) (net.Listener, error) {
	path := SocketPath(stateDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("set the mode of the socket: %w", err)
	}
	return l, nil
}
