package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// startDeadline is how long a server may take to answer.
	startDeadline = 10 * time.Second
	// startTick is how often one that doesn't answer yet is asked.
	startTick = 5 * time.Millisecond
	// stopGrace is how long a server may take to end by itself.
	stopGrace = 3 * time.Second
	// maxSaid is how much of its output an error quotes, in bytes.
	maxSaid = 2000
)

// process is a server that was started, in a process group of its own.
type process struct {
	name string
	cmd  *exec.Cmd
	// log is the file with its output.
	log string
	// exited is closed when it has ended.
	exited chan struct{}
}

// start runs a server that writes its output, and what else it wants, into dir. It is killed when ctx ends.
func start(ctx context.Context, name, dir string, files []*os.File, command ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = out, out, files
	// Some keep something in the home of who runs them.
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = p.kill
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // One that ends too early is missed soon enough.
	}()
	return p, nil
}

// kill ends the process and its workers at once.
func (p *process) kill() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// stop ends the process and waits for that. A process with workers has to see to their
// ends itself, else nobody does.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // It fails if the process has ended by itself, which is as good.
	select {
	case <-p.exited:
	case <-time.After(stopGrace):
		_ = p.kill()
		<-p.exited
	}
}

// failed adds to an error the beginning of what the process said.
func (p *process) failed(err error) error {
	said, readErr := os.ReadFile(p.log)
	if readErr == nil && len(said) > 0 {
		err = fmt.Errorf("%w; it said:\n%s", err, said[:min(len(said), maxSaid)])
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// awaitAnswer returns when the server answers a GET for path, to host, with a body of
// size bytes, unless size is 0.
func (p *process) awaitAnswer(ctx context.Context, address, host, path string, size int) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for {
		body, err := get(ctx, address, host, path)
		if err == nil && size > 0 && len(body) != size {
			err = fmt.Errorf("it answered %d bytes, want %d", len(body), size)
		}
		if err == nil {
			return nil
		}
		select {
		case <-time.After(startTick):
		case <-p.exited:
			return p.failed(errors.New("it ended at once"))
		case <-ctx.Done():
			return p.failed(fmt.Errorf("no good answer from %s within %s: %w", address, startDeadline, err))
		}
	}
}

// get returns what is at path, over a connection of its own.
func get(ctx context.Context, address, host, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Host = host
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return body, err
}

// freeAddress returns an address of this machine where nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
