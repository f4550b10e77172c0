//go:build linux

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/driver"
	"golang.org/x/sys/unix"
)

// writeLines appends the lines from to to-1 to a file: "line 00000017".
func writeLines(t *testing.T, path string, from, to int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %08d\n", i)
	}
	if _, err := f.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
}

func punch(t *testing.T, path string, limit int64) {
	t.Helper()
	err := punchLog(path, limit)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("no holes on this file system: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, path string, tail int) string {
	t.Helper()
	r, err := openLogReader(path, "", tail)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var out bytes.Buffer
	if err := r.copyTo(&out); err != nil {
		t.Fatal(err)
	}
	if err := r.flush(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("x", readSize)
	for _, c := range []struct {
		text string
		tail int
		want string
	}{
		{"", -1, ""}, {"", 0, ""}, {"", 3, ""},
		{"a\nb\nc\n", -1, "a\nb\nc\n"}, {"a\nb\nc\n", 0, ""}, {"a\nb\nc\n", 1, "c\n"}, {"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc\n", 3, "a\nb\nc\n"}, {"a\nb\nc\n", 4, "a\nb\nc\n"},
		{"a\nb\nc", 1, "c\n"}, {"a\nb\nc", 2, "b\nc\n"}, {"a\nb\nc", 0, ""}, {"a", 1, "a\n"},
		{"\n\n\n", 2, "\n\n"}, {"a\n" + long + "\nb\n", 2, long + "\nb\n"}, {long + "\n" + long + "\n", 1, long + "\n"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, path, c.tail); got != c.want {
			t.Errorf("the last %d lines of %.20q: got %.20q, want %.20q", c.tail, c.text, got, c.want)
		}
	}
}

func TestPunchedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const lines, length, limit = 100_000, 14, 64 << 10
	writeLines(t, path, 0, lines)
	punch(t, path, limit)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != lines*length || st.Blocks*512 > limit+4*holeUnit {
		t.Errorf("after the cut the file has the size %d and takes up %d bytes", st.Size, st.Blocks*512)
	}
	kept := strings.SplitAfter(readAll(t, path, -1), "\n")
	if n := len(kept) - 1; n < limit/length-1 || n > (limit+holeUnit)/length {
		t.Errorf("%d lines are left, want about %d", n, limit/length)
	}
	for i, line := range kept[:len(kept)-1] {
		if want := fmt.Sprintf("line %08d\n", lines-len(kept)+1+i); line != want {
			t.Fatalf("line %d of those left is %q, want %q", i, line, want)
		}
	}
	if got, want := readAll(t, path, 2), fmt.Sprintf("line %08d\nline %08d\n", lines-2, lines-1); got != want {
		t.Errorf("tail: got %q, want %q", got, want)
	}
	if got := readAll(t, path, lines); got != strings.Join(kept, "") {
		t.Errorf("a tail longer than what is left: %d bytes, want %d", len(got), len(strings.Join(kept, "")))
	}
	before := st.Blocks
	punch(t, path, limit)
	if err := unix.Stat(path, &st); err != nil || st.Blocks != before {
		t.Errorf("cut again for nothing: %d blocks, then %d, error %v", before, st.Blocks, err)
	}
	punch(t, path, 0)
	if got := readAll(t, path, 1); got == "" {
		t.Error("a limit of 0 has emptied the log")
	}
}

// TestReadWhilePunched reads a log that is written to and cut all the time: lines
// may be missing, but none may be torn, doubled or out of order.
func TestReadWhilePunched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLines(t, path, 0, 10)
	r, err := openLogReader(path, "", -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	const rounds, each = 200, 2000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range rounds {
			writeLines(t, path, 10+i*each, 10+(i+1)*each)
			if err := punchLog(path, 16<<10); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
				t.Error(err)
			}
		}
	}()
	var out bytes.Buffer
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		if err := r.copyTo(&out); err != nil {
			t.Fatal(err)
		}
	}
	last := -1
	for line := range strings.Lines(out.String()) {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(line, "line "), "\n"))
		if len(line) != 14 || err != nil || n <= last {
			t.Fatalf("after line %d comes %q", last, line)
		}
		last = n
	}
	if last != 10+rounds*each-1 {
		t.Errorf("the last line is %d, want %d", last, 10+rounds*each-1)
	}
}

// TestNoLineIsLost follows an instance that prints over a restart of the driver.
func TestNoLineIsLost(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`: >"$SEGUE_RUN_DIR/ready"; i=0; while [ $i -lt 20000 ]; do echo "line $i of an instance"; i=$((i+1)); done; exec sleep 3600`)
	r.LogMaxBytes = 10 << 20
	m.ensure(r, 2)
	m.ready(2)
	m.restart()
	want := 2 * 20000
	ctx, cancel := context.WithCancel(m.ctx())
	defer cancel()
	var w countingWriter
	w.reached, w.left = cancel, want
	if err := m.Logs(ctx, &w, "web", "r1", driver.LogOptions{Tail: -1, Follow: true}); err != nil {
		t.Fatal(err)
	}
	next := map[string]int{}
	for line := range strings.Lines(w.String()) {
		id, rest, _ := strings.Cut(line, "| ")
		if rest != fmt.Sprintf("line %d of an instance\n", next[id]) {
			t.Fatalf("%s: after %d lines comes %q", id, next[id], line)
		}
		next[id]++
	}
	if next["web-r1-1"] != 20000 || next["web-r1-2"] != 20000 {
		t.Errorf("lines by instance: %v", next)
	}
}

// countingWriter calls reached when so many lines were written.
type countingWriter struct {
	bytes.Buffer
	left    int
	reached func()
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.left -= bytes.Count(p, []byte("\n")); w.left <= 0 {
		w.reached()
	}
	return w.Buffer.Write(p)
}

func TestLogIsCut(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`: >"$SEGUE_RUN_DIR/ready"; seq 1 200000; exec sleep 3600`)
	r.LogMaxBytes = 64 << 10
	m.ensure(r, 1)
	in := m.ready(1)[0]
	path := m.logPath("web", "r1", in.ID)
	eventually(t, "printed and cut", func() bool {
		var st unix.Stat_t
		return unix.Stat(path, &st) == nil && st.Size > 1<<20 && st.Blocks*512 < 128<<10
	})
	if got := readAll(t, path, 1); got != "200000\n" {
		t.Errorf("the last line is %q", got)
	}
}

func TestLogFollowsNewInstance(t *testing.T) {
	m := startMachine(t)
	r := m.shell(`echo "hello from $SEGUE_INSTANCE"; : >"$SEGUE_RUN_DIR/ready"; exec sleep 3600`)
	m.ensure(r, 1)
	m.ready(1)
	ctx, cancel := context.WithTimeout(m.ctx(), patience)
	defer cancel()
	w := countingWriter{left: 2, reached: cancel}
	done := make(chan error, 1)
	go func() { done <- m.Logs(ctx, &w, "web", "r1", driver.LogOptions{Tail: -1, Follow: true}) }()
	m.ensure(r, 2)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := "web-r1-1| hello from web-r1-1\nweb-r1-2| hello from web-r1-2\n"; w.String() != want {
		t.Errorf("got %q, want %q", w.String(), want)
	}
}

func TestTruncatedWhileRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLines(t, path, 0, 10)
	r, err := openLogReader(path, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	writeLines(t, path, 10, 11)
	var out bytes.Buffer
	if err := r.copyTo(&out); err != nil || out.String() != "line 00000010\n" {
		t.Errorf("got %q, error %v", out.String(), err)
	}
}

func TestLongLineIsSplit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 3*maxLine), 0o600); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, path, -1)
	if x := strings.Count(got, "x"); x != 3*maxLine {
		t.Errorf("%d of %d bytes", x, 3*maxLine)
	}
	for line := range strings.Lines(got) {
		if len(line) > maxLine+readSize+1 {
			t.Errorf("a piece of %d bytes", len(line))
		}
	}
}
