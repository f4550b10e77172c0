package proxy

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/health"
	"golang.org/x/sys/unix"
)

// withoutDescriptors has no new one be had in this process while something is done, but for
// one that it can call for.
func withoutDescriptors(t *testing.T, do func(oneMore func())) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: before.Max}); err != nil {
			t.Fatal(err)
		}
	}
	limit(3)
	defer limit(int(before.Cur))
	do(func() {
		// A new one is the lowest that is free.
		lowest := 3
		for {
			if _, err := unix.FcntlInt(uintptr(lowest), unix.F_GETFD, 0); err != nil {
				break
			}
			lowest++
		}
		limit(lowest + 1)
	})
}

// lateClient is a client that has its descriptor before it connects, and doesn't need one
// then.
type lateClient struct {
	t  *testing.T
	fd int
	to address
}

func newLateClient(t *testing.T, address string) *lateClient {
	t.Helper()
	a, err := addressOf("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(a.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &lateClient{t, fd, a}
}

func (c *lateClient) connect() {
	c.t.Helper()
	if err := unix.Connect(c.fd, c.to.sockaddr); err != nil {
		c.t.Fatal(err)
	}
}

// ask has a request answered, when there are descriptors again.
func (c *lateClient) ask() string {
	c.t.Helper()
	conn, err := connOf(c.fd)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, plainGet)
	_, text := response(c.t, bufio.NewReader(conn))
	return text
}

// asking sends a request with the client that is kept, and returns where its answer comes.
func (r *running) asking(client *http.Client, method string) <-chan string {
	got := make(chan string, 1)
	go func() {
		by := *r
		by.http = client
		resp, text, err := by.try(method, "/", "")
		if err != nil {
			text = err.Error()
		} else if resp.StatusCode != http.StatusOK {
			text = resp.Status + " " + text
		}
		got <- text
	}()
	return got
}

// here is an instance whose connections are for one request. It has no descriptor either
// when there are none, and doesn't complain.
func here(t *testing.T) Upstream {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "here")
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return at(s.Listener.Addr().String())
}

// TestOutOfDescriptors: a request for which no connection to an instance can be opened, for
// want of descriptors, waits for one. The instance is not at fault.
func TestOutOfDescriptors(t *testing.T) {
	p := start(t, Config{}, web(rel("r1", 100, here(t))))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if got := <-p.asking(p.http, method); got != "here" { // and the client's connection stays
			t.Fatal(got)
		}
		p.settle()
		var answer <-chan string
		withoutDescriptors(t, func(func()) {
			answer = p.asking(p.http, method)
			eventually(t, "the request waits", func() bool {
				return statsOf(p.stats(), "web", "r1").InFlight == 1 || len(answer) == 1
			})
			if u := statsOf(p.stats(), "web", "r1").Upstreams[0]; !u.Healthy {
				t.Errorf("the instance is ejected: %s", u.Message)
			}
		})
		if got := <-answer; got != "here" {
			t.Errorf("%s: %s", method, got)
		}
	}
	if r := p.release("r1"); r.Failed.Sum() > 0 || r.Retried > 0 || r.Answered[2] != 4 {
		t.Errorf("%+v", r)
	}
}

// TestProbesOutOfDescriptors: an upstream that can't be asked for its health, for want of
// descriptors, is as healthy as before.
func TestProbesOutOfDescriptors(t *testing.T) {
	r := rel("r1", 100, saying(t, "here"))
	r.Health = &health.Check{TCP: true, Interval: 5 * time.Millisecond, Timeout: time.Second, Healthy: 1, Unhealthy: 1}
	p := start(t, Config{}, web(r))
	p.do(http.MethodGet, "/", "")
	withoutDescriptors(t, func(func()) { time.Sleep(200 * time.Millisecond) })
	for u := range p.checks() {
		if !u.condition.healthy.Load() {
			t.Errorf("it counts as not healthy: %s", u.condition.why())
		}
	}
}

// TestOutOfDescriptorsForLong: the request doesn't wait for longer than a connection may
// take, neither in a loop nor at the door.
func TestOutOfDescriptorsForLong(t *testing.T) {
	const limit = 100 * time.Millisecond
	t.Run("in a loop", func(t *testing.T) {
		p := start(t, Config{ConnectTimeout: limit}, web(rel("r1", 100, here(t))))
		<-p.asking(p.http, http.MethodGet)
		p.settle()
		withoutDescriptors(t, func(func()) {
			began := time.Now()
			got := await(t, "the answer", p.asking(p.http, http.MethodGet))
			if took := time.Since(began); took < limit || got[:3] != "502" {
				t.Errorf("after %s the client gets %q, want 502 after %s", took, got, limit)
			}
		})
		if r := p.release("r1"); r.Failed.Connect != 1 {
			t.Errorf("counted %+v", r)
		}
	})
	t.Run("at the door", func(t *testing.T) {
		p := start(t, Config{ConnectTimeout: limit}, web(rel("r1", 100, here(t))))
		c := p.clientOf(true)
		if got := <-p.asking(c, http.MethodGet); got != "here" {
			t.Fatal(got)
		}
		p.settle()
		withoutDescriptors(t, func(func()) {
			began := time.Now()
			got := await(t, "the answer", p.asking(c, http.MethodGet))
			if took := time.Since(began); took < limit || got[:3] != "502" {
				t.Errorf("after %s the client gets %q, want 502 after %s", took, got, limit)
			}
		})
	})
}

// TestDescriptorsGoToRequests: the next descriptor that there is goes to a request that
// waits for it, and not to another client that has come meanwhile; that one is served when
// there is one for it, too.
func TestDescriptorsGoToRequests(t *testing.T) {
	p := start(t, Config{Loops: 1, ConnectTimeout: time.Hour}, web(rel("r1", 100, here(t))))
	connected := func() (is bool) {
		l := p.loops[0]
		l.do(func() {
			f := l.registry.accounts[accountKey{"web", "r1"}].flights.first
			is = f == nil || f.owner.(*exchange).up != nil
		})
		return is
	}
	for range 10 { // without the rule it is a matter of chance who is first
		if got := <-p.asking(p.http, http.MethodGet); got != "here" {
			t.Fatal(got)
		}
		p.settle()
		late := newLateClient(t, p.addr)
		var answer <-chan string
		withoutDescriptors(t, func(oneMore func()) {
			answer = p.asking(p.http, http.MethodPost)
			eventually(t, "the request waits", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 1 })
			late.connect()
			oneMore()
			eventually(t, "the request has it", connected)
		})
		if got := await(t, "the answer", answer); got != "here" {
			t.Errorf("the request gets %q", got)
		}
		if got := late.ask(); got != "here" {
			t.Errorf("the client that came meanwhile gets %q", got)
		}
	}
}

// TestOutOfDescriptorsForClients: a client for whose connection there is no descriptor
// waits in the kernel, and the proxy goes on.
func TestOutOfDescriptorsForClients(t *testing.T) {
	p := start(t, Config{Loops: 1}, web(rel("r1", 100, here(t))))
	if got := <-p.asking(p.http, http.MethodGet); got != "here" {
		t.Fatal(got)
	}
	late := newLateClient(t, p.addr)
	withoutDescriptors(t, func(func()) {
		late.connect()
		eventually(t, "no more are accepted", func() (paused bool) {
			l := p.loops[0]
			l.do(func() { paused = !l.accepting && l.pause.due != 0 })
			return paused || p.life.Err() != nil
		})
	})
	if got := late.ask(); got != "here" {
		t.Errorf("the client gets %q", got)
	}
	if _, err := p.ownStats(context.Background()); err != nil {
		t.Error(err)
	}
}
