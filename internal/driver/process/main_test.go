//go:build linux

package process

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary also plays the instances and the daemon that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "instance":
			beInstance(os.Args[2:])
			return
		case "say":
			say(os.Args[2:])
			return
		case "daemon":
			beDaemon(os.Args[2:])
			return
		}
	}
	goleak.VerifyTestMain(m)
}

// patience is a safety net that no passing test waits for.
const patience = 60 * time.Second

// beInstance is a service that behaves as its flags say.
func beInstance(args []string) {
	f := flag.NewFlagSet("instance", flag.ExitOnError)
	port := f.Int("port", 0, "listen on it")
	socket := f.String("socket", "", "listen on it")
	status := f.Int("status", 200, "answer with it")
	exit := f.Int("exit", -1, "exit at once with this code")
	stops := f.Duration("stops-after", 0, "time from SIGTERM to the exit")
	prints := f.String("prints", "", "lines to print, separated by commas")
	child := f.String("child", "", "start a child that ignores SIGTERM: in my group, or with setsid")
	printsStop := f.Bool("prints-stop", false, "print the signal that asks me to stop, which may be any")
	readyBy := f.String("ready-by", "", "say by a file or by notify that I am ready: after SIGIO, and not after SIGPWR")
	orphan := f.Bool("orphan", false, "be such a child")
	_ = f.Parse(args)

	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if *printsStop {
		signal.Notify(term, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	}
	for line := range strings.SplitSeq(*prints, ",") {
		if line != "" {
			fmt.Println(line)
		}
	}
	if *orphan {
		select {}
	}
	if *child != "" {
		c := exec.Command(os.Args[0], "instance", "-orphan")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: *child == "setsid"}
		if err := c.Start(); err != nil {
			fmt.Println(err)
			os.Exit(99)
		}
	}
	if *exit >= 0 {
		os.Exit(*exit)
	}
	network, address := "tcp", "127.0.0.1:"+strconv.Itoa(*port)
	if *socket != "" {
		network, address = "unix", *socket
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		fmt.Println(err)
		os.Exit(98)
	}
	go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(*status) }))
	if *readyBy != "" {
		sayReady(*readyBy)
	}
	sig := <-term
	if *printsStop {
		fmt.Println("stopped by " + unix.SignalName(sig.(syscall.Signal)))
	}
	time.Sleep(*stops)
}

// sayReady says by a file or by notify what signals tell it to, from when the file
// "up" has its pid on.
func sayReady(by string) {
	dir := os.Getenv("SEGUE_RUN_DIR")
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGIO, unix.SIGPWR)
	go func() {
		for sig := range told {
			switch ready := sig == unix.SIGIO; {
			case by == "notify" && ready:
				notify("READY=1\nSTATUS=working\nX_UNKNOWN=1")
			case by == "notify":
				notify("STOPPING=1")
			case ready:
				_ = os.MkdirAll(filepath.Join(dir, "said"), 0o700)
				_ = os.WriteFile(filepath.Join(dir, "said", "ready"), nil, 0o600)
			default:
				_ = os.Remove(filepath.Join(dir, "said", "ready"))
			}
		}
	}()
	_ = os.WriteFile(filepath.Join(dir, "up"), []byte(strconv.Itoa(os.Getpid())), 0o600)
}

// notify sends text by the protocol of sd_notify(3), again and again while nobody
// listens.
func notify(text string) {
	address := &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"}
	for {
		conn, err := net.DialUnix("unixgram", nil, address)
		if err == nil {
			_, err = conn.Write([]byte(text))
			conn.Close()
		}
		if err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// machine is a driver's directory, and the driver on it.
type machine struct {
	t   *testing.T
	cfg Config
	*Driver
	stop func()
}

// newMachine makes a driver that runs until the test ends, and sees to it that no
// process of it outlives the test.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, cfg: Config{Dir: t.TempDir()}}
	if testing.Verbose() {
		m.cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	t.Cleanup(func() {
		for _, pid := range m.processes("") {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return m
}

func startMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.start()
	t.Cleanup(func() { m.stop() })
	return m
}

// start opens the driver and runs it.
func (m *machine) start() {
	m.t.Helper()
	d, err := Open(m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	m.Driver = d
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
		done <- nil
	}
}

func (m *machine) restart() *Driver {
	m.stop()
	m.start()
	return m.Driver
}

// release is one whose instances are this test binary.
func (m *machine) release(args ...string) driver.Release {
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	return driver.Release{
		Service: "web", ID: "r1", Dir: m.t.TempDir(),
		Command: append([]string{self, "instance", "-port={{.Port}}"}, args...),
		// The race detector's own wait at the end of a program.
		Env: map[string]string{"GORACE": "atexit_sleep_ms=0"},
		Health: health.Check{HTTP: &health.HTTP{Path: "/healthz"},
			Interval: 50 * time.Millisecond, Timeout: patience, Healthy: 1, Unhealthy: 2},
		StartDeadline: patience, StopGrace: patience,
	}
}

// shell is a release whose instances are a shell script, healthy as soon as it
// has made the file "ready" in its run directory.
func (m *machine) shell(script string) driver.Release {
	r := m.release()
	r.Command = []string{"/bin/sh", "-c", script}
	r.Health.HTTP = nil
	r.Health.Command = []string{"test", "-e", "{{.RunDir}}/ready"}
	return r
}

// processes returns the living processes of the machine's instances, or of the one
// given, by what stands in their environment.
func (m *machine) processes(id string) []int {
	m.t.Helper()
	all, err := pids()
	if err != nil {
		m.t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(m.cfg.Dir)
	if err != nil {
		m.t.Fatal(err)
	}
	var list []int
	for _, pid := range all {
		s, err := readStat(pid)
		if err != nil || s.zombie {
			continue
		}
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(environ, []byte("SEGUE_RUN_DIR="+dir+"/")) &&
			(id == "" || bytes.Contains(environ, []byte("SEGUE_INSTANCE="+id+"\x00"))) {
			list = append(list, pid)
		}
	}
	return list
}

func (m *machine) ctx() context.Context {
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	m.t.Cleanup(cancel)
	return ctx
}

func (m *machine) ensure(r driver.Release, n int) {
	m.t.Helper()
	if err := m.Ensure(m.ctx(), r, n); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) remove(r driver.Release) {
	m.t.Helper()
	if err := m.Remove(m.ctx(), r.Service, r.ID); err != nil {
		m.t.Fatal(err)
	}
	if left := m.processes(""); len(left) > 0 {
		m.t.Errorf("after Remove the processes %v live", left)
	}
}

// until waits until the instances are as they should be.
func (m *machine) until(what string, done func([]driver.Instance) bool) []driver.Instance {
	m.t.Helper()
	ctx := m.ctx()
	for range m.Watch(ctx) {
		list, err := m.List(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		if done(list) {
			return list
		}
	}
	list, _ := m.List(m.t.Context())
	m.t.Fatalf("not %s before the end of patience: %+v", what, list)
	return nil
}

// in waits until the one instance is in a state.
func (m *machine) in(state driver.State) driver.Instance {
	m.t.Helper()
	return m.until(string(state), func(l []driver.Instance) bool {
		return len(l) == 1 && l[0].State == state && (state != driver.Failed || l[0].Pid == 0)
	})[0]
}

// ready waits until n instances are.
func (m *machine) ready(n int) []driver.Instance {
	m.t.Helper()
	return m.until("ready", func(l []driver.Instance) bool {
		for _, in := range l {
			if in.State != driver.Ready {
				return false
			}
		}
		return len(l) == n
	})
}

// eventually is for what can't be waited for in another way.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if poll(ctx, 50*time.Millisecond, func() (bool, error) { return done(), nil }) != nil {
		t.Fatalf("not %s before the end of patience", what)
	}
}
