package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/segue-deploy/segue/internal/proxy"
)

const (
	// proxyStartDeadline is how long a new proxy may take to answer.
	proxyStartDeadline = 10 * time.Second
	// proxyTick is how often a proxy that does not answer yet is asked.
	proxyTick = 20 * time.Millisecond
	// settledAfter is how long a proxy must have run for its death not to delay
	// the start of the next.
	settledAfter = 5 * time.Second
	// askEvery is how often a proxy is asked whether it still answers, and
	// hungAfter for how long it may not, before it is killed: its sockets are open
	// here, and another proxy can take them.
	askEvery  = time.Second
	hungAfter = 30 * time.Second
)

// ControlFile is the descriptor of the control socket in a proxy that the daemon
// starts; the listening sockets follow it.
const ControlFile = 3

// proxyKeeper keeps a proxy running on the listening sockets. The sockets stay
// open here, so that while no proxy runs, connections wait in the kernel.
type proxyKeeper struct {
	cfg       Config
	client    *proxy.Client
	listeners []*os.File
	// up is closed when a proxy has this daemon's table in force.
	up     chan struct{}
	upOnce sync.Once
	// running is the process that was found or started; nil when none runs.
	running *watchedProcess
	// replaced are the proxies that were found to have been replaced.
	replaced []found

	traffic *traffic
	// requests are those for another proxy in the place of the one that runs.
	requests chan *replacement
	// following are the goroutines that wait for the end of those that were replaced, whose
	// pids are in followed.
	following sync.WaitGroup
	followed  map[int]bool
}

// openProxyKeeper takes the sockets from the proxy that runs, or from systemd, or
// opens them.
func openProxyKeeper(ctx context.Context, cfg Config) (*proxyKeeper, error) {
	client := proxy.NewClient(controlPath(cfg.StateDir))
	k := &proxyKeeper{cfg: cfg, up: make(chan struct{}), client: client, traffic: &traffic{client: client}, requests: make(chan *replacement), followed: map[int]bool{}}
	found, err := k.adopt(ctx)
	if found || err != nil {
		return k, err
	}
	if files := activation.Files(true); len(files) > 0 {
		k.listeners = files
		return k, nil
	}
	for _, address := range cfg.Listen {
		f, err := listenClients(ctx, address)
		if err != nil {
			_ = k.close()
			return nil, err
		}
		k.listeners = append(k.listeners, f)
	}
	return k, nil
}

// adopt finds the proxies of an earlier daemon's.
func (k *proxyKeeper) adopt(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyStartDeadline)
	defer cancel()
	serves, replaced, err := k.survey(ctx)
	if err != nil {
		return false, err
	}
	k.replaced = replaced
	if serves == nil {
		return k.takeFrom(ctx, replaced)
	}
	if k.running, err = watchProcess(serves.info.Pid); err != nil {
		return false, fmt.Errorf("watch the running proxy: %w", err)
	}
	if k.listeners, err = k.client.Sockets(ctx); err != nil {
		return false, fmt.Errorf("take the sockets from the running proxy: %w", err)
	}
	k.cfg.Logger.Info("a proxy is running already and keeps its sockets", "pid", serves.info.Pid, "listen", k.addresses())
	return true, nil
}

// takeFrom takes the sockets from a proxy whose successor has died.
func (k *proxyKeeper) takeFrom(ctx context.Context, replaced []found) (bool, error) {
	for _, f := range replaced {
		listeners, err := proxy.NewClient(f.path).Sockets(ctx)
		if err == nil {
			k.listeners = listeners
			k.cfg.Logger.Warn("no proxy serves; the sockets are those of one that was replaced", "pid", f.info.Pid, "listen", k.addresses())
			return true, nil
		}
		k.cfg.Logger.Warn("take the sockets of a proxy that was replaced", "error", err)
	}
	return false, nil
}

// listenClients opens a socket for clients.
func listenClients(ctx context.Context, address string) (*os.File, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		hint := "choose another address with --listen"
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "another program listens there: stop it, or choose another address with --listen"
		}
		if errors.Is(err, syscall.EACCES) {
			hint = "ports below 1024 need root, the capability CAP_NET_BIND_SERVICE, or systemd's sockets (packaging/segue.socket)"
		}
		return nil, fmt.Errorf("listen for clients on %s: %w; %s", address, err, hint)
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// run keeps a proxy running until ctx ends, and leaves it running then. started
// is called with each proxy that runs and has no table of this daemon's yet.
func (k *proxyKeeper) run(ctx context.Context, started func(context.Context) error) {
	var backoff time.Duration
	defer k.following.Wait()
	k.followAll(ctx, k.replaced)
	for ctx.Err() == nil {
		began := time.Now()
		err := k.keepOne(ctx, started)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > settledAfter {
			k.cfg.Logger.Error("the proxy has ended; starting another on the same sockets", "error", err)
			backoff = 0
			continue
		}
		backoff = min(max(2*backoff, 50*time.Millisecond), 10*time.Second)
		k.cfg.Logger.Error("a proxy did not last; connections wait in the kernel", "error", err, "again_in", backoff)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
	}
}

// keepOne starts a proxy, unless one runs, and returns when it has ended.
func (k *proxyKeeper) keepOne(ctx context.Context, started func(context.Context) error) error {
	if k.running == nil {
		if err := k.start(ctx); err != nil {
			return err
		}
	}
	for {
		next, err := k.attend(ctx, started)
		if next != nil {
			k.follow(ctx, k.running)
			k.running = next
			continue
		}
		if ctx.Err() == nil {
			k.running.close()
			k.running = nil
		}
		return err
	}
}

// attend sees to it that the proxy has its table, asks from time to time whether
// it still answers, and returns why it has ended, or nil when ctx has. One that
// hangs it kills. When another has taken over, it returns that one.
func (k *proxyKeeper) attend(ctx context.Context, started func(context.Context) error) (next *watchedProcess, err error) {
	running, ended := k.running, make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		<-ended
	}()
	go func() {
		defer close(ended)
		running.wait(watching)
	}()
	answered, up := time.Now(), false
	for {
		if !up {
			err := started(ctx)
			if up = err == nil; up {
				k.upOnce.Do(func() { close(k.up) })
			} else if ctx.Err() == nil && !running.ended() {
				k.cfg.Logger.Warn("the proxy has no table yet", "error", err, "again_in", askEvery)
			}
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("it ended by itself or was killed; see %s", k.logPath())
		case <-ctx.Done():
			return nil, nil
		case r := <-k.requests:
			next, r.err = k.replace(ctx, r)
			close(r.done)
			if next != nil {
				return next, nil
			}
		case <-time.After(askEvery):
		}
		if info, err := infoOf(ctx, controlPath(k.cfg.StateDir)); err == nil {
			answered = time.Now()
			if info.Leaving {
				return nil, errors.New("the one that has taken over from it has died")
			}
		}
		if time.Since(answered) > hungAfter && ctx.Err() == nil {
			running.kill()
			return nil, fmt.Errorf("it did not answer for %s and was killed", hungAfter)
		}
	}
}

func (k *proxyKeeper) logPath() string { return filepath.Join(k.cfg.StateDir, "proxy.log") }

// stop ends the proxy after the requests in flight, and those that were replaced.
func (k *proxyKeeper) stop(ctx context.Context, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+proxyStartDeadline)
	defer cancel()
	_, replaced, err := k.survey(ctx)
	if err != nil {
		k.cfg.Logger.Warn("look for proxies that were replaced", "error", err)
	}
	errs := []error{k.stopOne(ctx, k.running, k.client, grace)}
	for _, f := range replaced {
		p, err := watchProcess(f.info.Pid)
		if err != nil {
			continue // It has ended.
		}
		errs = append(errs, k.stopOne(ctx, p, proxy.NewClient(f.path), grace))
		p.close()
		_ = os.Remove(f.path)
	}
	return errors.Join(errs...)
}

func (k *proxyKeeper) stopOne(ctx context.Context, p *watchedProcess, client *proxy.Client, grace time.Duration) error {
	if p == nil || p.ended() {
		return nil
	}
	if err := client.Shutdown(ctx, grace); err != nil && !p.ended() {
		k.cfg.Logger.Warn("ask the proxy to stop; it is killed", "error", err)
		p.kill()
	}
	p.wait(ctx)
	if ctx.Err() != nil {
		p.kill()
		return fmt.Errorf("the proxy did not stop within %s and was killed", grace+proxyStartDeadline)
	}
	return nil
}

func (k *proxyKeeper) close() error {
	var errs []error
	for _, f := range k.listeners {
		errs = append(errs, f.Close())
	}
	if k.running != nil {
		k.running.close()
	}
	return errors.Join(errs...)
}

// addresses are those that clients connect to.
func (k *proxyKeeper) addresses() string {
	var all []string
	for _, f := range k.listeners {
		l, err := net.FileListener(f)
		if err != nil {
			continue
		}
		all = append(all, l.Addr().String())
		l.Close()
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
