package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchedProcess is a process whose end is noticed, whether or not it is a child.
// Its pidfd stands for that very process: a recycled pid is another one.
type watchedProcess struct {
	pid   int
	pidfd *os.File
	child *exec.Cmd
	over  atomic.Bool
}

// watchProcess watches a process that somebody else has started.
func watchProcess(pid int) (*watchedProcess, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &watchedProcess{pid: pid, pidfd: os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", pid))}, nil
}

// watchChild watches a command that was started.
func watchChild(cmd *exec.Cmd) (*watchedProcess, error) {
	p, err := watchProcess(cmd.Process.Pid)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	p.child = cmd
	return p, nil
}

// wait returns when the process or ctx has ended.
func (p *watchedProcess) wait(ctx context.Context) {
	_ = p.pidfd.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = p.pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return
	}
	// A pidfd becomes readable when its process ends (pidfd_open(2)).
	_ = raw.Read(func(uintptr) bool { return p.ended() })
}

// ended says whether the process has ended, and reaps it if it is a child.
func (p *watchedProcess) ended() bool {
	if p.over.Load() {
		return true
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return true
	}
	readable := false
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		readable = err == nil && n == 1
	})
	if readable && p.over.CompareAndSwap(false, true) {
		p.reap()
	}
	return readable
}

// reap takes the end of a child from the kernel. A daemon that has replaced itself is the
// parent of what it started before.
func (p *watchedProcess) reap() {
	if p.child != nil {
		_ = p.child.Wait()
		return
	}
	_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil) // ECHILD: it is somebody else's
}

func (p *watchedProcess) kill() {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.PidfdSendSignal(int(fd), syscall.SIGKILL, nil, 0)
	})
	p.wait(context.Background())
}

func (p *watchedProcess) close() { p.pidfd.Close() }
