package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the worker itself, for what only a process can
// show.
func TestMain(m *testing.M) {
	if os.Getenv("WORKER_TEST_AS_MAIN") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// runs runs a worker in the bubble's time until the moment comes, stops it then,
// and returns how it ended and how long that took.
func runs(t *testing.T, c config, stopAfter time.Duration) (time.Duration, error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), stopAfter)
	defer stop()
	began := time.Now()
	err := c.run(ctx, quiet())
	return time.Since(began), err
}

func TestStopFinishesTheJob(t *testing.T) {
	q := newQueue(t)
	put(t, q, "a", "1s")
	put(t, q, "b", "1h")
	put(t, q, "c", "1s")
	synctest.Test(t, func(t *testing.T) {
		c := config{queue: q, release: "r1", instance: "w1"}
		if took, err := runs(t, c, 2*time.Second); took != time.Hour+time.Second || err != nil {
			t.Errorf("ended after %s, %v; want 1h0m1s", took, err)
		}
	})
	if done := names(t, q.path("done")); !slices.Equal(done, []string{"a", "b"}) {
		t.Errorf("done: %v", done)
	}
	if left := names(t, q.path("new")); !slices.Equal(left, []string{"c"}) {
		t.Errorf("left: %v", left)
	}
	if got, want := readResult(t, q, "b"), (result{Job: "b", Release: "r1", Instance: "w1"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestStopOfAnEmptyQueueIsImmediate(t *testing.T) {
	q := newQueue(t)
	synctest.Test(t, func(t *testing.T) {
		if took, err := runs(t, config{queue: q}, time.Second); took != time.Second || err != nil {
			t.Errorf("ended after %s, %v", took, err)
		}
	})
}

func TestRefusedJobHasAResult(t *testing.T) {
	q := newQueue(t)
	put(t, q, "a", "soon")
	synctest.Test(t, func(t *testing.T) {
		if _, err := runs(t, config{queue: q}, time.Second); err != nil {
			t.Error(err)
		}
	})
	if got := readResult(t, q, "a"); !strings.Contains(got.Error, `"soon"`) {
		t.Errorf("%+v", got)
	}
}

func TestCrashLeavesTheJobBusy(t *testing.T) {
	q := newQueue(t)
	put(t, q, "a", "5s")
	synctest.Test(t, func(t *testing.T) {
		c := config{queue: q, instance: "w1", behaviour: behaviour{crashAfter, 2 * time.Second}}
		took, err := runs(t, c, time.Minute)
		if took != 2*time.Second || err == nil || !strings.Contains(err.Error(), "crashing after 2s") {
			t.Errorf("ended after %s, %v", took, err)
		}
		if took, err := runs(t, c, time.Minute); took != 2*time.Second || err == nil {
			t.Errorf("with nothing to do: ended after %s, %v", took, err)
		}
	})
	if busy := names(t, q.path("busy")); !slices.Equal(busy, []string{"w1-a"}) {
		t.Errorf("busy: %v", busy)
	}
}

func TestNeverReady(t *testing.T) {
	q := newQueue(t)
	put(t, q, "a", "")
	socket := filepath.Join(t.TempDir(), "n")
	heard := listen(t, socket)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := (config{queue: q, notify: socket, behaviour: behaviour{kind: neverReady}}).run(ctx, quiet()); err != nil {
		t.Error(err)
	}
	if left := names(t, q.path("new")); len(left) != 1 {
		t.Error("it did the job")
	}
	if said := heard(); said != "" {
		t.Errorf("it said %q", said)
	}
}

func TestReadyIsSaid(t *testing.T) {
	for _, socket := range []string{filepath.Join(t.TempDir(), "n"), "@segue-worker-" + filepath.Base(t.TempDir())} {
		heard := listen(t, socket)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := (config{queue: newQueue(t), notify: socket}).run(ctx, quiet()); err != nil {
			t.Error(err)
		}
		if said := heard(); said != "READY=1" {
			t.Errorf("it said %q on %s", said, socket)
		}
	}
	if err := (config{queue: newQueue(t), notify: "/nonexistent"}).run(t.Context(), quiet()); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("with nobody who listens: %v", err)
	}
}

// listen listens on a notify socket; the function returns what has come there
// already.
func listen(t *testing.T, socket string) func() string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() string {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n := 0
		if err := raw.Read(func(fd uintptr) bool {
			n, _, _ = syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return string(b[:max(n, 0)])
	}
}

func TestProcessStopsOnSignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1} {
		q := newQueue(t)
		put(t, q, "a", "200ms")
		socket := filepath.Join(t.TempDir(), "n")
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{"WORKER_TEST_AS_MAIN=1", "QUEUE_DIR=" + string(q), "NOTIFY_SOCKET=" + socket, "SEGUE_RELEASE=r3"}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		if _, err := c.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after %s: %v", signal, err)
		}
		// Whether it had begun the job by then or not, none is left halfway.
		if busy := names(t, q.path("busy")); len(busy) > 0 {
			t.Errorf("after %s: busy %v", signal, busy)
		}
	}
}

func TestProcessSaysWhyItCrashes(t *testing.T) {
	for environment, want := range map[string]string{
		"WORKER_BEHAVIOUR=crash": "worker: crashing at once",
		"WORKER_BEHAVIOUR=krash": "worker: WORKER_BEHAVIOUR=krash: unknown",
		"QUEUE_DIR=/proc/no":     "worker: mkdir /proc/no",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{"WORKER_TEST_AS_MAIN=1", "QUEUE_DIR=" + t.TempDir(), environment}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %v, stderr %q, want exit code 1 and %q", environment, err, &stderr, want)
		}
	}
}
