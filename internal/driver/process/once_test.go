//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExec(t *testing.T) {
	m := newMachine(t)
	d, err := Open(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := m.shell("")
	r.Env = map[string]string{"A": "release", "B": "release"}
	for _, c := range []struct{ script, output, err string }{
		{`echo "$A $B $SEGUE_SERVICE $SEGUE_RELEASE"; pwd; echo problem >&2`, "release test web r1\n" + r.Dir + "\nproblem\n", ""},
		{"echo out; exit 5", "out\n", "exited with code 5"},
		{"kill -9 $$", "", "killed by SIGKILL"},
		{`echo "$PORT$TMPDIR$SEGUE_RUN_DIR"`, "\n", ""},
		{"sleep 3600 & echo out", "out\n", ""}, // which keeps the output open
	} {
		output, err := d.Exec(m.ctx(), r, []string{"sh", "-c", c.script}, map[string]string{"B": "test"})
		if output != c.output || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: output %q, error %v; want %q, %s", c.script, output, err, c.output, c.err)
		}
	}
	output, err := d.Exec(m.ctx(), r, []string{"sh", "-c", "seq 1 1000000"}, nil)
	if err != nil || len(output) != maxOutput || !strings.HasSuffix(output, "\n999999\n1000000\n") {
		t.Errorf("a long output: %d bytes that end in %q, error %v", len(output), output[max(0, len(output)-20):], err)
	}
	if _, err := d.Exec(m.ctx(), r, []string{"./missing"}, nil); err == nil {
		t.Error("a missing program is no error")
	}
}

// TestExecEndsAll: at the end of its context, a command ends with all children.
func TestExecEndsAll(t *testing.T) {
	m := newMachine(t)
	d, err := Open(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := m.shell("")
	script := fmt.Sprintf("trap '' TERM; sleep 3601 & setsid sleep 3602 & echo started; : >%s/started; wait", r.Dir)
	cause := errors.New("out of time")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		eventually(t, "started", func() bool { _, err := os.Stat(filepath.Join(r.Dir, "started")); return err == nil })
		cancel(cause)
	}()
	output, err := d.Exec(ctx, r, []string{"sh", "-c", script}, map[string]string{"SEGUE_RUN_DIR": m.cfg.Dir + "/run"})
	if output != "started\n" || !errors.Is(err, cause) {
		t.Errorf("output %q, error %v", output, err)
	}
	eventually(t, "ended", func() bool { return len(m.processes("")) == 0 })
}

func TestReadEnd(t *testing.T) {
	text := strings.Repeat("0123456789", 10000)
	for n := 1; n < 100; n += 7 {
		if got := readEnd(strings.NewReader(text), n); got != text[len(text)-n:] {
			t.Fatalf("the last %d bytes: got %q", n, got)
		}
	}
	if got := readEnd(strings.NewReader("short"), 100); got != "short" {
		t.Errorf("got %q", got)
	}
}
