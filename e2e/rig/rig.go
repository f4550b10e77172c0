// Package rig runs the real segue binary as a user does: a daemon with a state
// directory of its own, and the command line. Tests and the demo share it.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startDeadline is how long a daemon may take until it answers.
const startDeadline = 60 * time.Second

// Rig is a state directory with a daemon on it.
type Rig struct {
	// Segue is the binary's path, Dir the state directory, Address where clients
	// connect.
	Segue, Dir, Address string
	// Env is added to the daemon's environment.
	Env []string
	// Flags are added to those of `segue serve`.
	Flags []string
	// Output gets what the daemon and the proxy write; nil drops it.
	Output io.Writer

	daemon *exec.Cmd
	ended  chan struct{}
}

// New chooses a free address. The daemon is started by Serve.
func New(segue, dir string) (*Rig, error) {
	segue, err := filepath.Abs(segue)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &Rig{Segue: segue, Dir: dir, Address: l.Addr().String()}, nil
}

// Serve starts the daemon and returns when it answers commands.
func (r *Rig) Serve() error {
	tail, err := r.Start()
	if err != nil {
		return err
	}
	ended := r.ended
	deadline := time.Now().Add(startDeadline)
	for time.Now().Before(deadline) {
		if r.answers() {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the daemon ended: %s", tail.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("the daemon did not answer within %s", startDeadline)
}

// Start starts the daemon, whether or not it comes to answer commands. What it
// writes is complete once it has ended.
func (r *Rig) Start() (output *bytes.Buffer, err error) {
	r.daemon = exec.Command(r.Segue, append([]string{"serve", "--state-dir", r.Dir, "--listen", r.Address}, r.Flags...)...)
	r.daemon.Env = append(os.Environ(), r.Env...)
	output = &bytes.Buffer{}
	out := io.Writer(output)
	if r.Output != nil {
		out = io.MultiWriter(output, r.Output)
	}
	r.daemon.Stdout, r.daemon.Stderr = out, out
	if err := r.daemon.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	r.ended = ended
	cmd := r.daemon
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return output, nil
}

func (r *Rig) answers() bool {
	c, err := net.Dial("unix", filepath.Join(r.Dir, "segue.sock"))
	if err != nil {
		return false
	}
	c.Close()
	return r.Run(context.Background(), "status", "-o", "json").Code == 0
}

// Result is how a command ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the command line and returns when it has ended.
func (r *Rig) Run(ctx context.Context, args ...string) Result {
	var stdout, stderr bytes.Buffer
	code := r.Stream(ctx, &stdout, &stderr, args...)
	return Result{code, stdout.String(), stderr.String()}
}

// Stream runs the command line with its output going elsewhere.
func (r *Rig) Stream(ctx context.Context, stdout, stderr io.Writer, args ...string) int {
	cmd := exec.CommandContext(ctx, r.Segue, append(args, "--state-dir", r.Dir)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return -1
	}
	return 0
}

// JSON runs a command with -o json and decodes what it prints.
func (r *Rig) JSON(ctx context.Context, into any, args ...string) error {
	res := r.Run(ctx, append(args, "-o", "json")...)
	if res.Code != 0 {
		return fmt.Errorf("segue %s: exit code %d: %s", strings.Join(args, " "), res.Code, res.Stderr)
	}
	return json.Unmarshal([]byte(res.Stdout), into)
}

// Signal sends the daemon a signal.
func (r *Rig) Signal(sig syscall.Signal) error { return r.daemon.Process.Signal(sig) }

// ExitCode is the daemon's, once it has ended.
func (r *Rig) ExitCode() int { return r.daemon.ProcessState.ExitCode() }

// Ended is closed when the daemon has ended.
func (r *Rig) Ended() <-chan struct{} { return r.ended }

// ProxyPid finds the proxy of this state directory, 0 if none runs.
func (r *Rig) ProxyPid() int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		args := strings.Split(string(cmdline), "\x00")
		if len(args) > 2 && args[1] == "proxy" && strings.Contains(string(cmdline), "\x00"+r.Dir+"\x00") {
			return pid
		}
	}
	return 0
}

// StopAll stops everything, and says what still runs after that.
func (r *Rig) StopAll() error {
	res := r.Run(context.Background(), "serve", "--stop-all")
	if res.Code != 0 {
		return fmt.Errorf("segue serve --stop-all: exit code %d: %s", res.Code, res.Stderr)
	}
	if r.ended != nil {
		<-r.ended
	}
	if left := r.Processes(); len(left) > 0 {
		return fmt.Errorf("still alive after everything was stopped: %s", strings.Join(left, "; "))
	}
	return nil
}

// Processes lists the proxy and the instances of this state directory that live.
func (r *Rig) Processes() []string {
	var all []string
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		instance := strings.Contains(string(environ), "SEGUE_INSTANCE=") && strings.Contains(string(environ), r.Dir+"/")
		proxy := strings.Contains(string(cmdline), "\x00proxy\x00") && strings.Contains(string(cmdline), "\x00"+r.Dir+"\x00")
		if instance || proxy {
			all = append(all, e.Name()+" "+strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " "))
		}
	}
	return all
}
