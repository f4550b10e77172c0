package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the demo itself, for what only a process
// can show.
func TestMain(m *testing.M) {
	if os.Getenv("DEMO_TEST_AS_MAIN") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func listening(t *testing.T) (net.Listener, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln, ln.Addr().String()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	ln, address := listening(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- config{release: "r1"}.serve(ctx, ln, quiet()) }()

	resp, err := http.Get("http://" + address + "/slow?d=500ms")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stop()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(body), "\nend\n") {
		t.Errorf("%q, %v", body, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("still listens after the end")
	}
}

func TestCrashes(t *testing.T) {
	err := config{behaviour: behaviour{kind: crash}}.run(t.Context(), quiet())
	if err == nil || !strings.Contains(err.Error(), "crashing at once") {
		t.Errorf("crash: %v", err)
	}
	ln, _ := listening(t)
	err = config{behaviour: behaviour{kind: crashAfter, after: time.Millisecond}}.serve(t.Context(), ln, quiet())
	if err == nil || !strings.Contains(err.Error(), "crashing after 1ms") {
		t.Errorf("crash-after: %v", err)
	}
}

func TestCrashAtRequest(t *testing.T) {
	ln, address := listening(t)
	done := make(chan error, 1)
	go func() {
		done <- config{behaviour: behaviour{kind: crashAt, requests: 2}}.serve(t.Context(), ln, quiet())
	}()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i, path := range []string{"/healthz", "/smoke", "/", "/"} {
		resp, err := client.Get("http://" + address + path)
		if answered := err == nil; answered != (i < 3) {
			t.Errorf("request %d, %s: %v", i, path, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "crashing at request 2") {
		t.Errorf("%v", err)
	}
}

func TestListenLate(t *testing.T) {
	late := config{network: "unix", address: "/nonexistent/s", behaviour: behaviour{kind: listenLate, after: 3 * time.Second}}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		err := late.run(t.Context(), quiet())
		if err == nil || time.Since(begin) != 3*time.Second {
			t.Errorf("%v after %s, want the failure to listen after 3s", err, time.Since(begin))
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := late.run(ctx, quiet()); err != nil {
		t.Errorf("stopped while waiting: %v", err)
	}
}

func TestListenReplacesAStaleSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c := config{network: "unix", address: path}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	ln, err := c.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.listen(t.Context()); err == nil {
		t.Error("took the place of a regular file")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file holds %q", b)
	}
}

// startDemo runs the demo as a process; its first line of output has come.
func startDemo(t *testing.T, environment ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(environment, "DEMO_TEST_AS_MAIN=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "listening") {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func TestProcessStopsOnTerm(t *testing.T) {
	cmd := startDemo(t, "SOCKET="+filepath.Join(t.TempDir(), "s"))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestProcessIgnoresTerm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	cmd := startDemo(t, "SOCKET="+path, "DEMO_BEHAVIOUR=ignore-term")
	for range 3 {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	ignored, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Skip("no /proc:", err)
	}
	for line := range strings.Lines(string(ignored)) {
		mask, is := strings.CutPrefix(line, "SigIgn:")
		if !is {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		if err != nil || bits&(1<<(syscall.SIGTERM-1)) == 0 {
			t.Errorf("SIGTERM is not ignored: %s, %v", mask, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
}

func TestProcessSaysWhyItCrashes(t *testing.T) {
	for environment, want := range map[string]string{
		"DEMO_BEHAVIOUR=crash":  "demo: crashing at once",
		"DEMO_BEHAVIOUR=krash":  "demo: DEMO_BEHAVIOUR=krash: unknown",
		"DEMO_BEHAVIOUR=errors": "demo: listen",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{"DEMO_TEST_AS_MAIN=1", "SOCKET=/nonexistent/s", environment}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%s: %v, want exit code 1", environment, err)
		}
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: stderr %q, want %q", environment, &stderr, want)
		}
	}
}
