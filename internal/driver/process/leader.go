//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leader is an instance's first process, watched through a pidfd.
type leader struct {
	identity
	fd *os.File
	// done is closed when the process has ended. It may still be a zombie.
	done chan struct{}
	// left is closed when the goroutine that watches has ended.
	left chan struct{}
}

// watchLeader watches the process that id names. It returns an error when that
// process doesn't exist any more. The caller closes the leader.
func watchLeader(id identity) (*leader, error) {
	fd, err := unix.PidfdOpen(id.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", id.pid, err)
	}
	// Only now that the pidfd holds a process can one be sure which.
	s, err := readStat(id.pid)
	if err != nil || s.ticks != id.ticks {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch process %d: %w", id.pid, os.ErrProcessDone)
	}
	id.child = s.parent == os.Getpid()
	l := &leader{identity: id, fd: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{}), left: make(chan struct{})}
	conn, err := l.fd.SyscallConn()
	if err != nil {
		l.fd.Close()
		return nil, fmt.Errorf("watch process %d: %w", id.pid, err)
	}
	go func() {
		defer close(l.left)
		ended := false
		_ = conn.Read(func(fd uintptr) bool {
			ended = readable(int(fd))
			return ended
		})
		if ended {
			close(l.done)
		}
	}()
	return l, nil
}

// readable reports whether a pidfd's process has ended.
func readable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// close ends the watching; the process goes on.
func (l *leader) close() {
	l.fd.Close()
	<-l.left
}

// reap takes the end of an own child from the kernel and returns a sentence
// about it. After it, nothing keeps the pid from being used again.
func (l *leader) reap(age time.Duration) string {
	if !l.child {
		return "ended after " + roundAge(age) + ", how isn't known since it was started by an earlier run of segue"
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(l.pid, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		l.child = false
		if err != nil {
			return "ended after " + roundAge(age) + ", how isn't known: " + err.Error()
		}
		return howEnded(status) + " after " + roundAge(age)
	}
}

func howEnded(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exited with code %d", status.ExitStatus())
}

// roundAge is short and exact enough for a person: "0.1s", "42s", "3h0m5s".
func roundAge(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", max(d, 0).Seconds())
	}
	return d.Round(time.Second).String()
}
