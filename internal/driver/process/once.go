//go:build linux

package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

const (
	// maxOutput is how much, in bytes, of a command's output is kept: the end.
	maxOutput = 64 << 10
	// lateOutput is how long output may still come after a command's end, from
	// a process that has escaped.
	lateOutput = time.Second
)

// Exec is part of [driver.Driver]. The end of a command's output is returned, at
// most 64 KiB.
func (d *Driver) Exec(ctx context.Context, r driver.Release, command []string, env map[string]string) (output string, err error) {
	if err := checkPlaced(&r); err != nil {
		return "", err
	}
	s, err := newSurroundings(&r, driver.Vars{})
	if err != nil {
		return "", err
	}
	for name, value := range env {
		s.env[name] = value
	}
	args, err := r.Arguments(command, s.vars)
	if err != nil {
		return "", err
	}
	path, err := s.program(args[0])
	if err != nil {
		return "", err
	}
	marker := rand.Text()
	output, err = s.runOnce(ctx, path, args, marker)
	// Children that have left the group are still marked.
	if _, e := (identity{marker: marker}).signal(unix.SIGKILL); e != nil {
		err = errors.Join(err, e)
	}
	return output, err
}

// runOnce runs a command to its end, or to that of ctx, and ends its group. It is
// ended, too, when this process is.
func (s *surroundings) runOnce(ctx context.Context, path string, args []string, marker string) (string, error) {
	// The kernel ties "when this process is" to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer read.Close()
	pid, err := s.startProcess(spawn{path: path, args: args, env: s.environ(marker), out: write, dies: true})
	write.Close()
	if err != nil {
		return "", err
	}
	output := make(chan string, 1)
	go func() { output <- readEnd(read, maxOutput) }()
	err = finish(ctx, pid)
	_ = read.SetReadDeadline(time.Now().Add(lateOutput))
	return <-output, err
}

// finish waits for the end of a child, or of ctx, ends its group and reaps it.
func finish(ctx context.Context, pid int) error {
	st, err := readStat(pid)
	var l *leader
	if err == nil {
		l, err = watchLeader(identity{pid: pid, ticks: st.ticks})
	}
	if err == nil {
		select {
		case <-l.done:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		l.close()
	}
	// Not reaped yet, so the group's number is still the child's.
	_ = unix.Kill(-pid, unix.SIGKILL)
	var status syscall.WaitStatus
	for {
		_, waited := syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(waited, syscall.EINTR) {
			break
		}
	}
	switch {
	case err != nil:
		return err
	case status.Signaled():
		return fmt.Errorf("killed by %s", unix.SignalName(status.Signal()))
	case status.ExitStatus() != 0:
		return &driver.ExitError{Code: status.ExitStatus()}
	}
	return nil
}

// readEnd reads to the end and returns the last n bytes.
func readEnd(r io.Reader, n int) string {
	kept := make([]byte, 0, 2*n)
	chunk := make([]byte, n)
	for {
		got, err := r.Read(chunk)
		if len(kept)+got > cap(kept) {
			kept = append(kept[:0], kept[len(kept)+got-n:]...)
		}
		kept = append(kept, chunk[:got]...)
		if err != nil {
			return string(kept[max(0, len(kept)-n):])
		}
	}
}
