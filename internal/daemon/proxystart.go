package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

// start runs a proxy where none serves. It takes over from those that were replaced by one
// that has died.
func (k *proxyKeeper) start(ctx context.Context) error {
	serves, replaced, err := k.survey(ctx)
	if err != nil {
		return err
	}
	if serves != nil { // one that had just taken over from the one that has ended
		k.running, err = watchProcess(serves.info.Pid)
		return err
	}
	p, err := k.launch(ctx, controlPath(k.cfg.StateDir))
	if err != nil {
		return err
	}
	k.running = p
	k.followAll(ctx, replaced)
	for _, f := range replaced {
		if _, err := k.client.TakeOver(ctx, f.path, drainDefault); err != nil {
			k.cfg.Logger.Warn("a proxy that was replaced keeps what it has", "pid", f.info.Pid, "error", err)
		}
	}
	return nil
}

// launch runs this very binary as a proxy, in a session of its own and with its output in
// a file, so that nothing of the daemon's is needed by it. It returns when the proxy
// answers.
func (k *proxyKeeper) launch(ctx context.Context, socket string) (*watchedProcess, error) {
	control, err := listenControl(socket)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	output, err := os.OpenFile(k.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the proxy's log: %w", err)
	}
	defer output.Close()
	//nolint:noctx // it outlives every context of the daemon's
	cmd := exec.Command("/proc/self/exe", k.arguments()...)
	cmd.Args[0] = "segue"
	cmd.ExtraFiles = append([]*os.File{control}, k.listeners...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	p, err := watchChild(cmd)
	if err != nil {
		return nil, err
	}
	if err := k.awaitAnswer(ctx, p, proxy.NewClient(socket)); err != nil {
		if ctx.Err() == nil { // Else the next daemon finds it.
			p.kill()
		}
		p.close()
		return nil, err
	}
	return p, nil
}

// arguments name the state directory for those who look at a list of processes.
func (k *proxyKeeper) arguments() []string {
	fixed := []string{"proxy", "--state-dir", k.cfg.StateDir, "--sockets", strconv.Itoa(len(k.listeners))}
	return append(fixed, k.cfg.Proxy...)
}

// awaitAnswer returns when the proxy just started answers.
func (k *proxyKeeper) awaitAnswer(ctx context.Context, p *watchedProcess, client *proxy.Client) error {
	ctx, cancel := context.WithTimeout(ctx, proxyStartDeadline)
	defer cancel()
	for {
		info, err := client.Info(ctx)
		if err == nil {
			k.cfg.Logger.Info("the proxy runs", "pid", info.Pid, "listen", k.addresses())
			return nil
		}
		if p.ended() {
			return fmt.Errorf("the proxy ended at once; see %s", k.logPath())
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
