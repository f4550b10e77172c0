package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/segue-deploy/segue/internal/prove"
)

// TestDeployUnderLoad is the main job.
func TestDeployUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})

	res := s.deploy(release{version: "2", bake: 2 * time.Second}, 0)
	after := time.Now()
	s.contains(res, "promoted, r2 is stable", "shift traffic: r2 100 %")
	l.answersFrom("r2", after)
	eventually(t, "a span of r2 alone that the client can tell apart", func() bool { return time.Since(after) > time.Second })
	before := time.Now()
	s.expect(0, "rollback", "-s", "web")
	back := time.Now()
	l.answersFrom("r1", back)

	report := l.nothingLost()
	if n := l.gen.Between(after, before)["r1"]; n > 0 {
		t.Errorf("%d requests that began after the shift were answered by r1", n)
	}
	if n := l.gen.After(back)["r2"]; n > 0 {
		t.Errorf("%d requests that began after the rollback were answered by r2", n)
	}
	var accepted uint64
	for _, r := range s.status().Traffic.Releases {
		accepted += r.Accepted
	}
	if accepted != report.Sent {
		t.Errorf("the client sent %d requests, the proxy counted %d", report.Sent, accepted)
	}
	for _, id := range []string{"d2", "d3"} {
		if r := s.receipt(id); r.Total.Lost != 0 || r.Total.FailedBySegue != 0 || r.Total.Accepted == 0 || len(r.Unknown) > 0 {
			t.Errorf("receipt of %s: %+v", id, r)
		}
	}
}

// TestShiftIsExact compares with the moment at which the shift was journalled as
// done: no request that begins later goes to the old release.
func TestShiftIsExact(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{KeepAlive: 16, Fresh: 4, Rate: 800})
	l.answersFrom("r1", time.Time{})
	file := s.write("segue.yaml", release{version: "2", bake: 2 * time.Second}.String(), 0o644)
	res := s.expect(0, "deploy", "-f", file, "-o", "json")
	var shifted time.Time
	for line := range strings.Lines(res.Stdout) {
		var ev struct {
			At   time.Time
			Kind string
			Data struct {
				Plan []struct{ Kind string }
				Step int
			}
		}
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if ev.Kind == "did" && ev.Data.Step == 2 {
			shifted = ev.At
		}
	}
	if shifted.IsZero() {
		t.Fatalf("no shift in\n%s", res.Stdout)
	}
	l.nothingLost()
	if answers := l.gen.After(shifted); answers["r1"] > 0 || answers["r2"] == 0 {
		t.Errorf("requests that began after the shift was in force were answered by %v", answers)
	}
}

// TestLongAnswersStraddleTheShift holds answers of 10 seconds over a shift and
// the drain after it.
func TestLongAnswersStraddleTheShift(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, 5)
	for range cap(answers) {
		go func() {
			resp, err := http.Get("http://" + s.Address + "/slow?d=10s")
			if err != nil {
				answers <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			answers <- answer{string(body), err}
		}()
	}
	eventually(t, "five requests in flight", func() bool { return s.inFlight("r1") == int64(cap(answers)) })
	s.deploy(release{version: "2"}, 0)
	for range cap(answers) {
		a := <-answers
		if a.err != nil || !strings.HasSuffix(strings.TrimSpace(a.body), "end") || !strings.Contains(a.body, "r1") {
			t.Errorf("a long answer: %v, %q", a.err, a.body)
		}
	}
	r := s.receipt("d2")
	if len(r.Drains) != 1 || r.Drains[0].InFlight != 5 || r.Drains[0].Finished != 5 || r.Drains[0].Cut != 0 {
		t.Errorf("drains: %+v", r.Drains)
	}
}

func (s *stage) inFlight(release string) int64 {
	for _, r := range s.status().Traffic.Releases {
		if r.ID == release {
			return r.InFlight
		}
	}
	return 0
}

// TestUploadStraddlesTheShift sends a body in two halves, with a shift between.
func TestUploadStraddlesTheShift(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	body := bytes.Repeat([]byte("segue"), 50_000)
	c := s.dial()
	fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: web\r\nX-Load-Id: upload\r\nContent-Length: %d\r\n\r\n", len(body))
	if _, err := c.Write(body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the upload in flight", func() bool { return s.inFlight("r1") == 1 })
	done := s.deployBeside(release{version: "2"})
	eventually(t, "the shift", func() bool { _, b := s.get("/"); return strings.Contains(b, "r2") })
	if _, err := c.Write(body[len(body)/2:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	sum := sha256.Sum256(body)
	if err != nil || resp.Header.Get("X-Release") != "r1" || !strings.Contains(string(text), hex.EncodeToString(sum[:])) {
		t.Errorf("%s from %s: %v, %s", resp.Status, resp.Header.Get("X-Release"), err, text)
	}
	if res := <-done; res.Code != 0 {
		t.Errorf("exit code %d: %s", res.Code, res.Stderr)
	}
}

// TestWebSocketLivesUntilTheDrainDeadline echoes over a WebSocket opened before
// the shift; it goes on until its client is told to go shortly before the deadline, and the
// receipt says so.
func TestWebSocketLivesUntilTheDrainDeadline(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1", drain: 4 * time.Second}, 0)
	ws, _, err := websocket.Dial(t.Context(), "ws://"+s.Address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	echo := func() error {
		if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		_, got, err := ws.Read(t.Context())
		if err == nil && string(got) != "hello" {
			return fmt.Errorf("the echo is %q", got)
		}
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	done := s.deployBeside(release{version: "2"})
	eventually(t, "the shift", func() bool { _, b := s.get("/"); return strings.Contains(b, "r2") })
	if err := echo(); err != nil {
		t.Fatalf("after the shift: %v", err)
	}
	for err = nil; err == nil; err = echo() {
		time.Sleep(20 * time.Millisecond)
	}
	if res := <-done; res.Code != 0 {
		t.Errorf("exit code %d: %s", res.Code, res.Stderr)
	}
	r := s.receipt("d2")
	if len(r.Drains) != 1 || r.Drains[0].By != (endings{WebSockets: ending{Told: 1}}) {
		t.Errorf("drains: %+v", r.Drains)
	}
}

// TestUnixSockets deploys instances that listen on unix sockets.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1", more: "listen: socket\n"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})
	s.deploy(release{version: "2", more: "listen: socket\n"}, 0)
	l.answersFrom("r2", time.Now())
	l.nothingLost()
	s.contains(s.expect(0, "status"), "/web-r2-1/sock")
}

// TestReleaseIsImmutable edits and deletes what was deployed, and rolls back to
// the bytes of then.
func TestReleaseIsImmutable(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.write("artifact/data", "one", 0o644)
	s.deploy(release{version: "1"}, 0)
	s.write("artifact/data", "two", 0o644)
	s.deploy(release{version: "2", warm: time.Millisecond}, 0)
	if err := os.RemoveAll(filepath.Join(s.dir, "artifact")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "r1 is retired, so that it must boot", func() bool { return len(s.status().Releases) == 1 })
	s.expect(0, "rollback", "-s", "web")
	pid := 0
	for _, r := range s.status().Releases {
		if r.ID == "r1" {
			pid = r.Instances[0].Pid
		}
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cwd/data", pid))
	if err != nil || string(data) != "one" {
		t.Errorf("r1 runs beside %q: %v", data, err)
	}
}
