package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/internal/prove"
)

// another is a binary that does the same as the one before and is another one.
func (s *stage) another(n int) string {
	s.t.Helper()
	text, err := os.ReadFile(built.segue)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.write(fmt.Sprintf("segue-%d", n), string(text)+strings.Repeat("x", n), 0o755)
}

// versions is what the daemon says of itself and the proxy.
type versions struct {
	Pid     int
	Started time.Time
	Proxy   struct {
		Pid      int
		Differs  string
		Replaced []struct{ Pid int }
	}
}

func (s *stage) versions() versions {
	s.t.Helper()
	var v versions
	code, text, err := s.ask(http.MethodGet, "/v1/version", "")
	if err == nil && code == http.StatusOK {
		err = json.Unmarshal(text, &v)
	}
	if err != nil || code != http.StatusOK {
		s.t.Fatalf("version: %v, %d %s", err, code, text)
	}
	return v
}

// oneProxy waits until no proxy that was replaced is left.
func (s *stage) oneProxy() {
	s.t.Helper()
	eventually(s.t, "one proxy is left", func() bool { return len(s.versions().Proxy.Replaced) == 0 })
}

// client is a connection of a client's that is never to be closed.
type client struct {
	net.Conn
	r *bufio.Reader
}

func (s *stage) keptClient() *client {
	c := s.dial()
	return &client{c, bufio.NewReader(c)}
}

// get sends a request, and fails unless the answer is good and not the last.
func (c *client) get(t *testing.T) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatalf("a client's connection was closed: %v", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 || resp.Close {
		t.Fatalf("%s, close: %v, %v", resp.Status, resp.Close, err)
	}
}

// upgradeRequests is over how many requests TestTenUpgrades goes on.
var upgradeRequests = flag.Uint64("upgrade-requests", 0, "over how many small requests TestTenUpgrades goes on with its upgrades; 0 is ten upgrades")

// fullLoad is what the clients of TestTenUpgrades ask for: all sorts of things, or, to have
// very many, small ones.
func fullLoad() prove.Config {
	if *upgradeRequests == 0 {
		return prove.Config{KeepAlive: 16, Fresh: 4, Slow: 2, Rate: 100000}
	}
	return prove.Config{KeepAlive: 64, Fresh: 4, Slow: 2, Rate: 1e6, Requests: func(c prove.Client) func(string) *prove.Request {
		if c.Slow {
			return load.Demo{SlowFor: 2 * time.Second}.Requests(c)
		}
		return prove.Page{Posts: 25, Body: 1000}.Requests(c)
	}}
}

// TestTenUpgrades replaces daemon and proxy ten times under full load, or more often.
// Nothing is lost, no connection is closed, and a WebSocket goes on from the first proxy.
func TestTenUpgrades(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(fullLoad())
	l.answersFrom("r1", time.Time{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+s.Address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	binaries := []string{s.another(1), s.another(2)}
	kept := s.keptClient()
	first := s.versions()
	last := first
	upgrades := 0
	for n := 0; n < 10 || l.gen.Report().Sent < *upgradeRequests; n++ {
		upgrades++
		if upgrades == 10 { // A proxy that was replaced has ten minutes; very many upgrades take longer.
			if err := ws.Write(ctx, websocket.MessageText, []byte("still there?")); err != nil {
				t.Error(err)
			}
			if _, text, err := ws.Read(ctx); err != nil || !strings.Contains(string(text), "still there?") {
				t.Errorf("the WebSocket: %q, %v", text, err)
			}
		}
		kept.get(t)
		s.contains(s.expect(0, "upgrade", "--binary", binaries[n%2]), "proxy ")
		now := s.versions()
		if now.Pid != first.Pid || now.Started.Equal(last.Started) || now.Proxy.Pid == last.Proxy.Pid || now.Proxy.Differs != "" {
			t.Errorf("upgrade %d: after %+v came %+v", n, last, now)
		}
		last = now
		l.answersFrom("r1", time.Now())
	}
	kept.get(t)
	report := l.nothingLost()
	t.Logf("lost %d of %d requests in %d upgrades, %.0f requests per second, the slowest took %s",
		report.Sent-report.OK, report.Sent, upgrades, float64(report.Sent)/report.Elapsed.Seconds(), report.Slowest.Took)
	if report.IdleClosed+report.IdleReset > 0 {
		t.Errorf("%d idle connections of clients were closed, %d reset", report.IdleClosed, report.IdleReset)
	}
	ws.CloseNow()
	s.oneProxy()
	s.noSecondCopy("the upgrades")
	if st := s.status(); st.Traffic.Releases[0].Accepted < report.Sent {
		t.Errorf("the proxy counted %d requests over the upgrades, the clients %d", st.Traffic.Releases[0].Accepted, report.Sent)
	}
	s.contains(s.expect(0, "upgrade", "--binary", binaries[(upgrades-1)%2]), "daemon  is", "proxy   is", "already")
}

// TestUpgradeToABrokenBinary leaves all as it was.
func TestUpgradeToABrokenBinary(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})
	kept := s.keptClient()
	kept.get(t)
	before := s.versions()
	for _, broken := range []struct {
		name, text, want string
		mode             os.FileMode
	}{
		{"exits", "#!/bin/sh\necho out of order >&2\nexit 3\n", "out of order", 0o755},
		{"hangs", "#!/bin/sh\nexec sleep 60\n", "did not end within", 0o755},
		{"unrunnable", "#!/bin/sh\n", "permission denied", 0o644},
		{"other", "#!/bin/sh\necho hello\n", "does not say which version", 0o755},
		{"older", "#!/bin/sh\necho '{\"version\": \"v0.0.1\", \"journal\": 0}'\n", "reads journals up to format 0", 0o755},
	} {
		res := s.expect(1, "upgrade", "--binary", s.write(broken.name, broken.text, broken.mode))
		s.contains(res, broken.want, "nothing has changed")
		kept.get(t)
	}
	s.contains(s.expect(1, "upgrade", "--binary", filepath.Join(s.dir, "nowhere")), "no such file")
	if now := s.versions(); now.Pid != before.Pid || !now.Started.Equal(before.Started) || now.Proxy.Pid != before.Proxy.Pid {
		t.Errorf("before %+v, now %+v", before, now)
	}
	kept.get(t)
	l.nothingLost()
	s.noSecondCopy("broken binaries")
}

// TestUpgradeDuringACanary goes on with the deployment, whose receipt is whole.
func TestUpgradeDuringACanary(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})
	done := s.deployBeside(release{version: "2", strategy: "canary: {steps: [weight: 20, bake: 3s, weight: 60, bake: 3s, weight: 100, bake: 1s]}"})
	l.answersFrom("r2", time.Now())
	s.expect(0, "upgrade", "--binary", s.another(1))
	if res := <-done; res.Code != 0 {
		t.Fatalf("the deployment: %s%s", res.Stdout, res.Stderr)
	}
	l.answersFrom("r2", time.Now())
	l.nothingLost()
	s.oneProxy()
	r := s.receipt("d2")
	r.adds(t, "d2")
	if r.Phase != "promoted" || r.Total.Lost != 0 {
		t.Errorf("%+v", r)
	}
}

// TestUpgradeByRestart: a daemon that was restarted by hand keeps the proxy that runs, says
// that it is another binary, and replaces it when asked.
func TestUpgradeByRestart(t *testing.T) {
	t.Parallel()
	s := newStage(t).serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{})
	l.answersFrom("r1", time.Time{})
	proxy := s.ProxyPid()
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	s.Segue = s.another(1)
	s.serve()
	if pid := s.ProxyPid(); pid != proxy {
		t.Errorf("the proxy is %d, was %d", pid, proxy)
	}
	s.contains(s.expect(0, "status"), "the proxy is of another binary than the daemon", "segue upgrade")
	s.contains(s.expect(0, "upgrade"), "daemon  is", "proxy ")
	if v := s.versions(); v.Proxy.Pid == proxy || v.Proxy.Differs != "" {
		t.Errorf("%+v", v)
	}
	l.answersFrom("r1", time.Now())
	l.nothingLost()
	s.oneProxy()
	s.noSecondCopy("an upgrade")
}

// again restarts the daemon with other settings for the proxy, so that an upgrade has
// something to do, and with a fault.
func (s *stage) again(fault string) {
	s.t.Helper()
	if err := s.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	<-s.Ended()
	s.Flags, s.Env = []string{"--answer-timeout", "50s"}, []string{fault}
	s.serve()
}

// TestUpgradeToABrokenProxy gives a new proxy up that doesn't come up, and the old one goes
// on.
func TestUpgradeToABrokenProxy(t *testing.T) {
	for fault, want := range map[string]string{"no proxy today": "ended at once", "hangs": "did not answer within"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).serve()
			s.deploy(release{version: "1"}, 0)
			l := s.load(prove.Config{})
			l.answersFrom("r1", time.Time{})
			kept := s.keptClient()
			kept.get(t)
			before := s.versions()
			s.again("SEGUE_PROXY_FAULT=" + fault)
			s.contains(s.expect(1, "upgrade"), want, "the old one goes on", "proxy.log")
			kept.get(t)
			if now := s.versions(); now.Proxy.Pid != before.Proxy.Pid || now.Proxy.Differs != "settings" || len(now.Proxy.Replaced) > 0 {
				t.Errorf("before %+v, now %+v", before, now)
			}
			s.deploy(release{version: "2"}, 0)
			l.answersFrom("r2", time.Now())
			report := l.nothingLost()
			if report.IdleClosed+report.IdleReset > 0 {
				t.Errorf("%d connections closed, %d reset", report.IdleClosed, report.IdleReset)
			}
		})
	}
}

// TestUpgradeKilled kills the new proxy, or the daemon, before and after the new proxy has
// taken over. Afterwards one proxy serves, and deploys go on. Where nothing had been passed
// to what was killed, nothing is lost.
func TestUpgradeKilled(t *testing.T) {
	for _, point := range []string{"launched/proxy", "launched/daemon", "taken/proxy", "taken/daemon"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newStage(t).serve()
			s.deploy(release{version: "1"}, 0)
			l := s.load(prove.Config{KeepAlive: 4, Fresh: 4, Rate: 150})
			l.answersFrom("r1", time.Time{})
			before := s.versions()
			s.again("SEGUE_CRASH_UPGRADE=" + point)
			killed := time.Now()
			res := s.Run(t.Context(), "upgrade")
			if strings.HasSuffix(point, "/daemon") {
				<-s.Ended()
				l.answersFrom("r1", time.Now())
				s.Env = nil
				s.serve()
			}
			l.answersFrom("r1", time.Now())
			eventually(t, "a proxy serves", func() bool { return s.versions().Proxy.Pid != 0 })
			now := s.versions()
			if old := strings.HasPrefix(point, "launched/"); old != (now.Proxy.Pid == before.Proxy.Pid) {
				t.Errorf("%+v after %+v: %s%s", now, before, res.Stdout, res.Stderr)
			}
			s.Env = nil
			s.deploy(release{version: "2"}, 0)
			l.answersFrom("r2", time.Now())
			report := l.end()
			if report.Causes["refused"] > 0 {
				t.Errorf("connections were refused: %v", report.Causes)
			}
			lost := report.Sent - report.OK
			if point != "taken/proxy" && lost > 0 || lost > 10 {
				t.Errorf("%s", report)
			}
			for _, f := range report.Failures {
				if f.At.Before(killed) || point != "taken/proxy" {
					t.Error(f)
				}
			}
			s.oneProxy()
			s.noSecondCopy(point)
		})
	}
}
