package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
}

// openProxyKeeper takes the sockets from the proxy that runs, or from systemd, or
// opens them.
func openProxyKeeper(ctx context.Context, cfg Config) (*proxyKeeper, error) {
	k := &proxyKeeper{cfg: cfg, up: make(chan struct{}), client: proxy.NewClient(controlPath(cfg.StateDir))}
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

func controlPath(stateDir string) string { return filepath.Join(stateDir, "proxy.sock") }

// adopt finds a proxy of an earlier daemon's.
func (k *proxyKeeper) adopt(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyStartDeadline)
	defer cancel()
	info, err := k.client.Info(ctx)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("a proxy holds %s and does not answer: %w; if it hangs, end it with: pkill -9 -f 'segue proxy --state-dir %s'",
			controlPath(k.cfg.StateDir), err, k.cfg.StateDir)
	}
	if k.running, err = watchProcess(info.Pid); err != nil {
		return false, fmt.Errorf("watch the running proxy: %w", err)
	}
	if k.listeners, err = k.client.Sockets(ctx); err != nil {
		return false, fmt.Errorf("take the sockets from the running proxy: %w", err)
	}
	k.cfg.Logger.Info("a proxy is running already and keeps its sockets", "pid", info.Pid, "listen", k.addresses())
	return true, nil
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
	err := k.attend(ctx, started)
	if ctx.Err() == nil {
		k.running.close()
		k.running = nil
	}
	return err
}

// attend sees to it that the proxy has its table, asks from time to time whether
// it still answers, and returns why it has ended, or nil when ctx has. One that
// hangs it kills.
func (k *proxyKeeper) attend(ctx context.Context, started func(context.Context) error) error {
	ended := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		<-ended
	}()
	go func() {
		defer close(ended)
		k.running.wait(watching)
	}()
	answered, up := time.Now(), false
	for {
		if !up {
			err := started(ctx)
			if up = err == nil; up {
				k.upOnce.Do(func() { close(k.up) })
			} else if ctx.Err() == nil && !k.running.ended() {
				k.cfg.Logger.Warn("the proxy has no table yet", "error", err, "again_in", askEvery)
			}
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended by itself or was killed; see %s", filepath.Join(k.cfg.StateDir, "proxy.log"))
		case <-ctx.Done():
			return nil
		case <-time.After(askEvery):
		}
		if k.answers(ctx) {
			answered = time.Now()
		}
		if time.Since(answered) > hungAfter && ctx.Err() == nil {
			k.running.kill()
			return fmt.Errorf("it did not answer for %s and was killed", hungAfter)
		}
	}
}

func (k *proxyKeeper) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*askEvery)
	defer cancel()
	_, err := k.client.Info(ctx)
	return err == nil
}

// start runs this very binary as a proxy, in a session of its own and with its
// output in a file, so that nothing of the daemon's is needed by it.
func (k *proxyKeeper) start(ctx context.Context) error {
	control, err := listenControl(controlPath(k.cfg.StateDir))
	if err != nil {
		return err
	}
	defer control.Close()
	output, err := os.OpenFile(filepath.Join(k.cfg.StateDir, "proxy.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("open the proxy's log: %w", err)
	}
	defer output.Close()
	//nolint:noctx // it outlives every context of the daemon's
	cmd := exec.Command("/proc/self/exe", k.arguments()...)
	cmd.Args[0] = "segue"
	cmd.ExtraFiles = append([]*os.File{control}, k.listeners...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the proxy: %w", err)
	}
	if k.running, err = watchChild(cmd); err != nil {
		return err
	}
	if err := k.awaitAnswer(ctx); err != nil {
		if ctx.Err() != nil {
			return err // The next daemon finds it.
		}
		k.running.kill()
		k.running.close()
		k.running = nil
		return err
	}
	return nil
}

// arguments name the state directory for those who look at a list of processes.
func (k *proxyKeeper) arguments() []string {
	fixed := []string{"proxy", "--state-dir", k.cfg.StateDir, "--sockets", strconv.Itoa(len(k.listeners))}
	return append(fixed, k.cfg.Proxy...)
}

// awaitAnswer returns when the proxy just started answers.
func (k *proxyKeeper) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proxyStartDeadline)
	defer cancel()
	for {
		info, err := k.client.Info(ctx)
		if err == nil {
			k.cfg.Logger.Info("the proxy runs", "pid", info.Pid, "listen", k.addresses())
			return nil
		}
		if k.running.ended() {
			return fmt.Errorf("the proxy ended at once; see %s", filepath.Join(k.cfg.StateDir, "proxy.log"))
		}
		select {
		case <-time.After(proxyTick):
		case <-ctx.Done():
			return fmt.Errorf("the proxy did not answer within %s: %w", proxyStartDeadline, err)
		}
	}
}

// listenControl makes the socket by which a proxy is controlled. It replaces that
// of a dead one.
func listenControl(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("set the mode of the control socket: %w", err)
	}
	return l.File()
}

// stop ends the proxy after the requests in flight.
func (k *proxyKeeper) stop(ctx context.Context, grace time.Duration) error {
	if k.running == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grace+proxyStartDeadline)
	defer cancel()
	if err := k.client.Shutdown(ctx, grace); err != nil {
		k.cfg.Logger.Warn("ask the proxy to stop; it is killed", "error", err)
		k.running.kill()
	}
	k.running.wait(ctx)
	if ctx.Err() != nil {
		k.running.kill()
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
