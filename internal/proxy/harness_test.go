package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/segue-deploy/segue/internal/health"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(idleClientsVariable); address != "" {
		if err := runIdleClients(address); err != nil {
			fmt.Fprintln(os.Stderr, "idle clients:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// patience is a safety net for what is waited for, and no measure of anything.
const patience = 30 * time.Second

// running is a proxy that serves, and what a client needs to use it.
type running struct {
	*Proxy
	t       *testing.T
	addr    string
	url     string
	control *Client
	http    *http.Client
	// listener is closed when Run ends.
	listener *net.TCPListener
	// stop ends Run and returns what it returned.
	stop func() error
	// shaky is set by tests at whose end requests may be in flight.
	shaky bool
}

// start runs a proxy on a free port. At the test's end it is stopped and its counts
// must add up.
func start(t *testing.T, cfg Config, services ...Service) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := startOn(t, cfg, l)
	if len(services) > 0 {
		r.apply(1, services...)
	}
	return r
}

// startOn is start on sockets that are there, of which the first is the one to use.
func startOn(t *testing.T, cfg Config, listeners ...net.Listener) *running {
	t.Helper()
	path := controlPath(t)
	control, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- p.Run(ctx, listeners, control) }()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	l := listeners[0]
	r := &running{
		Proxy: p, t: t, addr: l.Addr().String(), url: "http://" + l.Addr().String(),
		control:  NewClient(path),
		listener: l.(*net.TCPListener),
		http: &http.Client{
			Transport:     transport,
			Timeout:       patience,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	r.stop = sync.OnceValue(func() error {
		transport.CloseIdleConnections() // Run waits a while for them
		cancel()
		select {
		case err := <-result:
			return err
		case <-time.After(patience):
			return fmt.Errorf("Run has not returned after %s", patience)
		}
	})
	t.Cleanup(func() {
		r.settle()
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		r.addsUp()
	})
	return r
}

func controlPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "segue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "c")
}

func (r *running) apply(version uint64, services ...Service) {
	r.t.Helper()
	if err := r.Apply(context.Background(), Table{Version: version, Services: services}); err != nil {
		r.t.Fatal(err)
	}
}

// settle waits until nothing is in flight: a client can have its answer a moment
// before that is counted.
func (r *running) settle() {
	r.t.Helper()
	if r.shaky {
		return
	}
	eventually(r.t, "nothing is in flight", func() bool {
		for _, s := range r.stats().Services {
			for _, rel := range s.Releases {
				if rel.InFlight != 0 {
					return false
				}
			}
		}
		return true
	})
}

// stats returns what the proxy says, or, of one that was replaced or has ended, what it has
// counted itself.
func (r *running) stats() Stats {
	r.t.Helper()
	s, err := r.Stats(context.Background())
	if r.leaving.Load() || r.life.Err() != nil {
		s, err = r.ownStats(context.Background())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// release returns the counts of a release of service "web" after all is settled.
func (r *running) release(id string) ReleaseStats {
	r.t.Helper()
	r.settle()
	return statsOf(r.stats(), "web", id)
}

func statsOf(s Stats, service, release string) ReleaseStats {
	for _, svc := range s.Services {
		for _, rel := range svc.Releases {
			if svc.Name == service && rel.ID == release {
				return rel
			}
		}
	}
	return ReleaseStats{ID: release}
}

// addsUp checks the identity in the docs of ReleaseStats.
func (r *running) addsUp() {
	r.t.Helper()
	addsUp(r.t, r.stats())
}

func addsUp(t *testing.T, s Stats) {
	t.Helper()
	for _, svc := range s.Services {
		if h := svc.Held; h.Now < 0 || h.Total != uint64(h.Now)+h.LetGo+h.Expired+h.Gone {
			t.Errorf("service %s: the held requests don't add up: %+v", svc.Name, h)
		}
		if q := svc.Queued; q.Now < 0 || q.Total != uint64(q.Now)+q.LetGo+q.Expired+q.Gone {
			t.Errorf("service %s: the queued requests don't add up: %+v", svc.Name, q)
		}
		if m := svc.Mirror; m.Sent < m.Ended() {
			t.Errorf("service %s: more copies ended than began: %+v", svc.Name, m)
		}
		for _, rel := range svc.Releases {
			sum := rel.Failed.Sum() + rel.ClientGone + rel.Rerouted + rel.Shed + uint64(rel.InFlight)
			for _, n := range rel.Answered {
				sum += n
			}
			if rel.InFlight < 0 || rel.Upgraded < 0 || sum != rel.Accepted {
				t.Errorf("service %s, release %q: the outcomes sum to %d, accepted are %d: %+v", svc.Name, rel.ID, sum, rel.Accepted, rel)
			}
			if n := rel.Drained.Sum().Cut; n != rel.Failed.Cut {
				t.Errorf("service %s, release %q: %d were cut at the end of drains, %d in all", svc.Name, rel.ID, n, rel.Failed.Cut)
			}
			if latencies := rel.Accepted - uint64(rel.InFlight) - rel.Failed.Sum() - rel.ClientGone - rel.Rerouted - rel.Shed - rel.Answered[1]; rel.Latency.Count() != latencies {
				t.Errorf("service %s, release %q: %d latencies of %d answers", svc.Name, rel.ID, rel.Latency.Count(), latencies)
			}
		}
	}
}

// serviceStats returns what was counted of a service by now.
func serviceStats(s Stats, service string) ServiceStats {
	for _, svc := range s.Services {
		if svc.Name == service {
			return svc
		}
	}
	return ServiceStats{Name: service}
}

func (r *running) held() HeldStats      { return serviceStats(r.stats(), "web").Held }
func (r *running) mirrors() MirrorStats { return serviceStats(r.stats(), "web").Mirror }

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s still not true: %s", patience, what)
		}
	}
}

// do sends a request and returns the answer with its body read.
func (r *running) do(method, path, body string, headers ...string) (*http.Response, string) {
	r.t.Helper()
	resp, text, err := r.try(method, path, body, headers...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, text
}

func (r *running) try(method, path, body string, headers ...string) (*http.Response, string, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, r.url+path, reader)
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// raw sends bytes over a connection of its own and returns a reader for the answer.
func (r *running) raw(text string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		r.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// web is a service "web" for every host, whose releases have the weights given.
func web(releases ...Release) Service { return Service{Name: "web", Releases: releases} }

// canary is web with two releases, of which r2 is the candidate.
func canary(weight int, stable, candidate Upstream) Service {
	s := web(rel("r1", 100-weight, stable), rel("r2", weight, candidate))
	s.Candidate = "r2"
	return s
}

func rel(id string, weight int, upstreams ...Upstream) Release {
	for i := range upstreams {
		upstreams[i].ID = fmt.Sprintf("web-%s-%d", id, i+1)
	}
	return Release{ID: id, Weight: weight, Upstreams: upstreams}
}

func at(address string) Upstream {
	return Upstream{Target: health.Target{Network: "tcp", Address: address}}
}

// handled is an upstream with net/http's server.
func handled(t *testing.T, h http.HandlerFunc) Upstream {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return at(s.Listener.Addr().String())
}

// saying is an upstream that answers with a text.
func saying(t *testing.T, text string) Upstream {
	return handled(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, text)
	})
}

// fake is an upstream that does to connections what a test wants.
type fake struct {
	Upstream
	conns atomic.Int64
}

// faked calls serve for every connection, with its number from 1, and closes it
// then.
func faked(t *testing.T, serve func(n int64, c *fakeConn)) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Upstream: at(l.Addr().String())}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			n := f.conns.Add(1)
			all.Go(func() {
				defer conn.Close()
				serve(n, &fakeConn{Conn: conn, r: bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return f
}

type fakeConn struct {
	net.Conn
	r *bufio.Reader
}

// request reads a request with its body, and returns nil at the connection's end.
func (c *fakeConn) request() (*http.Request, string) {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, ""
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, ""
	}
	return req, string(body)
}

// head reads a request without its body.
func (c *fakeConn) head() *http.Request {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return nil
	}
	return req
}

func (c *fakeConn) say(text string) { io.WriteString(c, text) }

// reset closes the connection with a reset.
func (c *fakeConn) reset() {
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// refusing is an upstream where nobody listens.
func refusing(t *testing.T) Upstream {
	t.Helper()
	u, _ := reserved(t)
	return u
}

// reserved is an upstream with its socket, which doesn't listen yet: it refuses
// connections, and keeps the port from everybody else on this machine.
func reserved(t *testing.T) (Upstream, *os.File) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "upstream")
	t.Cleanup(func() { socket.Close() })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return at(fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)), socket
}

// await receives from a channel within patience.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("after %s still not: %s", patience, what)
		panic("unreachable")
	}
}

// unixUpstream is an upstream on a unix socket, and its listener.
func unixUpstream(t *testing.T) (Upstream, net.Listener) {
	t.Helper()
	path := controlPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return Upstream{Target: health.Target{Network: "unix", Address: path}}, l
}
