package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDaemonScripts are scenarios at a prompt with a daemon of their own, which runs
// real processes: they have the command "daemon", which starts it, and "await", which
// waits until `segue status --watch` says something.
func TestDaemonScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/daemon",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": startDaemon,
			"await":  awaitStatus,
		},
		Setup: func(e *testscript.Env) error {
			// A socket's path is short.
			dir, err := os.MkdirTemp("", "cli")
			if err != nil {
				return err
			}
			e.Defer(func() { removeState(e.T(), dir) })
			e.Setenv("SEGUE_STATE_DIR", dir)
			e.Setenv("GORACE", programsEnd)
			return nil
		},
	})
}

// removeState removes a daemon's directory, in which artifacts are not writable.
func removeState(t testscript.T, dir string) {
	if out, err := exec.Command("chmod", "-R", "u+w", dir).CombinedOutput(); err != nil {
		t.Log(string(out))
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Log(err.Error())
	}
}

// segue is the program under test with a script's state directory.
func segue(ts *testscript.TestScript, args ...string) *exec.Cmd {
	cmd := exec.Command("segue", args...)
	cmd.Env = append(os.Environ(), "SEGUE_STATE_DIR="+ts.Getenv("SEGUE_STATE_DIR"), "GORACE="+programsEnd)
	return cmd
}

// startDaemon runs a daemon until the script's end; then nothing is left of it. Its
// clients connect to $ADDRESS.
func startDaemon(ts *testscript.TestScript, _ bool, _ []string) {
	cmd := segue(ts, "serve", "--listen", "127.0.0.1:0")
	ts.Defer(func() {
		if out, err := segue(ts, "serve", "--stop-all").CombinedOutput(); err != nil {
			ts.Logf("stop everything: %v: %s", err, out)
		}
		// It was asked to end, and how it does is not the script's business.
		_ = cmd.Wait()
	})
	log, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ready, err := untilLine(log, regexp.MustCompile("msg=ready listen=([^ ]*)"))
	ts.Check(err)
	ts.Setenv("ADDRESS", ready[1])
	go func() { _, _ = io.Copy(io.Discard, log) }()
}

// awaitStatus looks at the status until a line of it, or of its changes, matches.
func awaitStatus(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: await REGEXP")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	cmd := segue(ts, "status", "--watch")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	// A safety net: nothing that is waited for takes nearly as long.
	limit := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer limit.Stop()
	_, err = untilLine(out, pattern)
	ts.Check(err)
	ts.Check(cmd.Process.Signal(os.Interrupt))
	ts.Check(cmd.Wait())
}

// untilLine reads until a line matches, and returns what does.
func untilLine(r io.Reader, pattern *regexp.Regexp) ([]string, error) {
	var seen strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if match := pattern.FindStringSubmatch(lines.Text()); match != nil {
			return match, nil
		}
		seen.WriteString(lines.Text() + "\n")
	}
	return nil, errors.Join(fmt.Errorf("no line matches %s:\n%s", pattern, &seen), lines.Err())
}
