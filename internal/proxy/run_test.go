package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/segue-deploy/segue/internal/health"
)

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	hold := make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-hold
		}
		io.WriteString(w, "whole")
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	slow, slowReader := p.raw("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	defer slow.Close()
	kept, keptReader := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(keptReader, nil); err != nil || resp.Close {
		t.Fatal(resp, err)
	} else {
		io.ReadAll(resp.Body)
	}
	eventually(t, "the slow one is in flight", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 1 })

	if err := p.control.Shutdown(context.Background(), patience); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", p.addr); err == nil {
		conn.Close()
		t.Error("a connection is accepted after Shutdown")
	}
	// The kept connection has one more answer, which says that it's the last.
	io.WriteString(kept, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(keptReader, nil); err != nil || resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := p.control.Stats(context.Background()); err != nil {
		t.Errorf("stats of a proxy that ends: %v", err)
	}
	close(hold)
	resp, err := http.ReadResponse(slowReader, nil)
	if err != nil || !resp.Close {
		t.Fatal(resp, err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "whole" {
		t.Errorf("%q, %v", body, err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if got := p.release("r1"); got.Answered[2] != 3 {
		t.Errorf("counted %+v", got)
	}
}

func TestShutdownCutsAfterGrace(t *testing.T) {
	f := faked(t, func(_ int64, c *fakeConn) {
		c.request()
		io.Copy(io.Discard, c.r)
	})
	p := start(t, Config{ShutdownGrace: 20 * time.Millisecond}, web(rel("r1", 100, f.Upstream)))
	_, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	idle, idleReader := p.raw("")
	defer idle.Close()
	eventually(t, "it is in flight", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 1 })
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]*bufio.Reader{"cut request": r, "idle connection": idleReader} {
		if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the end of a %s: %v, want the end of the connection", what, err)
		}
	}
	eventually(t, "it is counted", func() bool { return statsOf(p.stats(), "web", "r1").Failed.Cut == 1 })
}

func TestRunEndsWithoutTable(t *testing.T) {
	p := start(t, Config{})
	if err := p.control.Shutdown(context.Background(), 0); err != nil {
		t.Error(err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestRunFailsWhenItCannotAccept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(Config{})
	if err := p.Apply(context.Background(), Table{Version: 1}); err != nil {
		t.Fatal(err)
	}
	err = p.Run(context.Background(), []net.Listener{brokenListener{l}}, nil)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("%v", err)
	}
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("broken") }

func TestControl(t *testing.T) {
	ctx := context.Background()
	p := start(t, Config{Version: "1.2.3"})
	info, err := p.control.Info(ctx)
	if err != nil || info.Pid == 0 || info.Epoch == "" || info.Version != "1.2.3" || info.Table != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	up := saying(t, "x")
	check := &health.Check{HTTP: &health.HTTP{Path: "/"}, Interval: time.Hour, Timeout: time.Second, Healthy: 2, Unhealthy: 3}
	release := rel("r1", 100, up)
	release.Health = check
	table := Table{Version: 7, Services: []Service{web(release)}}
	for range 2 {
		if err := p.control.Apply(ctx, table); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Apply(ctx, table); err != nil {
		t.Errorf("the table changes on its way: %v", err)
	}
	table.Version = 6
	if err := p.control.Apply(ctx, table); err == nil || !strings.Contains(err.Error(), "table 7 is in force") {
		t.Errorf("%v", err)
	}
	p.do("GET", "/", "")
	p.settle()
	stats, err := p.control.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, stats)
	got := statsOf(stats, "web", "r1")
	if stats.Table != 7 || stats.Epoch != info.Epoch || got.Answered[2] != 1 || got.Latency.Max() == 0 || len(got.Upstreams) != 1 || !got.Upstreams[0].Healthy {
		t.Errorf("%+v", stats)
	}
	if r, err := p.control.Drain(ctx, "web", "r9", DrainTimes{All: time.Second}); err != nil || r != (DrainResult{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestControlOfNobody(t *testing.T) {
	ctx := context.Background()
	path := controlPath(t)
	c := NewClient(path)
	if _, err := c.Info(ctx); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if _, err := c.Sockets(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := c.Stats(ctx); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

func TestControlRefusesNonsense(t *testing.T) {
	p := start(t, Config{})
	for _, body := range []string{"", "{", `{"version":"x"}`} {
		resp, err := p.control.http.Post("http://segue"+applyPath, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("%q: status %d", body, resp.StatusCode)
		}
	}
}

// The sockets that the proxy hands over are the same it accepts on: another proxy
// can go on with them.
func TestSockets(t *testing.T) {
	ctx := context.Background()
	p := start(t, Config{}, web(rel("r1", 100, saying(t, "old"))))
	for range 3 {
		files, err := p.control.Sockets(ctx)
		if err != nil || len(files) != 1 || files[0].Name() != "tcp:"+p.addr {
			t.Fatalf("%v, %v", files, err)
		}
		files[0].Close()
	}
	p.do("GET", "/", "")
	files, err := p.control.Sockets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(files[0])
	files[0].Close()
	if err != nil {
		t.Fatal(err)
	}
	p.http.CloseIdleConnections()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	// Nobody accepts now; the connection waits in the queue for the next proxy.
	conn, r := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	defer conn.Close()
	next := New(Config{})
	if err := next.Apply(ctx, Table{Version: 1, Services: []Service{web(rel("r1", 100, saying(t, "new")))}}); err != nil {
		t.Fatal(err)
	}
	runCtx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- next.Run(runCtx, []net.Listener{l}, nil) }()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "new" {
		t.Errorf("%q", body)
	}
	conn.Close()
	cancel()
	if err := await(t, "the next proxy ends", ended); err != nil {
		t.Error(err)
	}
}

func TestSocketsWithoutDescriptor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, _, err := duplicate([]net.Listener{brokenListener{l}}); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a listener without a descriptor is handed over: %v", err)
	}
}

func TestHealthCheck(t *testing.T) {
	var sick atomic.Bool
	sickly := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && sick.Load() {
			w.WriteHeader(500)
			return
		}
		io.WriteString(w, "sickly")
	})
	r1 := rel("r1", 100, sickly, saying(t, "well"))
	r1.Health = &health.Check{HTTP: &health.HTTP{Path: "/healthz"}, Interval: 2 * time.Millisecond, Timeout: patience, Healthy: 2, Unhealthy: 2}
	p := start(t, Config{}, web(r1))
	healthy := func() bool { return statsOf(p.stats(), "web", "r1").Upstreams[0].Healthy }
	if !healthy() {
		t.Error("a new upstream isn't healthy")
	}
	sick.Store(true)
	eventually(t, "the sick one is ejected", func() bool { return !healthy() })
	for range 20 {
		if _, body := p.do("GET", "/", ""); body != "well" {
			t.Fatalf("%q answers", body)
		}
	}
	if u := statsOf(p.stats(), "web", "r1").Upstreams[0]; !strings.Contains(u.Message, "500") {
		t.Errorf("%+v", u)
	}
	sick.Store(false)
	eventually(t, "it is readmitted", healthy)
	if u := statsOf(p.stats(), "web", "r1").Upstreams[0]; u.Message != "" {
		t.Errorf("%+v", u)
	}
	eventually(t, "it answers again", func() bool {
		_, body := p.do("GET", "/", "")
		return body == "sickly"
	})
}

// An upstream that a request hasn't found is asked soon whether it is back, whether
// it has no check, or one that comes seldom.
func TestReadmission(t *testing.T) {
	for name, check := range map[string]*health.Check{"no check": nil, "seldom": {TCP: true, Interval: time.Hour, Timeout: patience, Healthy: 3, Unhealthy: 3}} {
		t.Run(name, func(t *testing.T) {
			up, socket := reserved(t)
			r1 := rel("r1", 100, up)
			r1.Health = check
			p := start(t, Config{}, web(r1))
			if resp, _ := p.do("GET", "/", ""); resp.StatusCode != 502 {
				t.Errorf("status %d", resp.StatusCode)
			}
			if u := statsOf(p.stats(), "web", "r1").Upstreams[0]; u.Healthy {
				t.Errorf("%+v", u)
			}
			if err := unix.Listen(int(socket.Fd()), 16); err != nil {
				t.Fatal(err)
			}
			l, err := net.FileListener(socket)
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "back") })}
			ended := make(chan error, 1)
			go func() { ended <- s.Serve(l) }()
			t.Cleanup(func() { s.Close(); <-ended })
			eventually(t, "it is readmitted", func() bool { return statsOf(p.stats(), "web", "r1").Upstreams[0].Healthy })
			if _, body := p.do("GET", "/", ""); body != "back" {
				t.Errorf("%q", body)
			}
		})
	}
}

func TestIdleClientsAreClosed(t *testing.T) {
	hold := make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-hold
		}
		io.WriteString(w, "x")
	})
	p := start(t, Config{}, web(rel("r1", 100, up)))
	_, fresh := p.raw("")
	_, kept := p.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(kept, nil); err != nil {
		t.Fatal(err)
	} else {
		io.ReadAll(resp.Body)
	}
	_, busy := p.raw("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "it is in flight", func() bool { return statsOf(p.stats(), "web", "r1").InFlight == 1 })
	p.closeIdle(time.Hour)
	if n := p.stats().ConnectionsOpen; n != 3 {
		t.Errorf("%d connections are open, want 3", n)
	}
	eventually(t, "only the busy one is open", func() bool {
		p.closeIdle(1)
		return p.stats().ConnectionsOpen == 1
	})
	for _, r := range []*bufio.Reader{fresh, kept} {
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%v, want the end", err)
		}
	}
	close(hold)
	if resp, err := http.ReadResponse(busy, nil); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
}

func TestAccessLog(t *testing.T) {
	var lines bytes.Buffer
	p := start(t, Config{AccessLog: AccessLog{Every: 1, Writer: &lines}}, Service{Name: "web", Hosts: []string{"a"}, Releases: []Release{rel("r1", 100, saying(t, "hello"))}})
	resp, _ := p.do("POST", "/x?secret=1", "body", "Host", "a")
	p.do("GET", "/nowhere", "")
	p.settle()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	var got []Entry
	for d := json.NewDecoder(&lines); d.More(); {
		var e Entry
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 2 {
		t.Fatalf("%d lines", len(got))
	}
	e := got[0]
	if e.RequestID != resp.Header.Get("X-Request-Id") || e.Method != "POST" || e.Path != "/x" || e.Status != 200 || e.Bytes != 5 || e.Client != "127.0.0.1" ||
		e.Outcome != "answered" || e.Service != "web" || e.Release != "r1" || e.Upstream != "web-r1-1" || e.Attempts != 1 || e.Seconds <= 0 || e.Time.IsZero() {
		t.Errorf("%+v", e)
	}
	if e := got[1]; e.Outcome != "refused" || e.Status != 404 || e.Service != "" {
		t.Errorf("%+v", e)
	}
}

// A writer that blocks, or fails as on a full disk, costs lines and not requests.
func TestAccessLogDrops(t *testing.T) {
	blocked := make(chan struct{})
	p := start(t, Config{AccessLog: AccessLog{Every: 1, Queue: 2, Writer: writerFunc(func(b []byte) (int, error) {
		<-blocked
		return 0, errors.New("no space left on device")
	})}}, web(rel("r1", 100, saying(t, "x"))))
	for range 20 {
		p.do("GET", "/", "")
	}
	if s := p.stats(); s.LogDropped < 17 {
		t.Errorf("%d lines dropped, want at least 17", s.LogDropped)
	}
	close(blocked)
	eventually(t, "all are dropped", func() bool { return p.stats().LogDropped == 20 })
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestAccessLogSamples(t *testing.T) {
	var lines bytes.Buffer
	p := start(t, Config{AccessLog: AccessLog{Every: 4, Writer: &lines}}, web(rel("r1", 100, saying(t, "x"))))
	for range 200 {
		p.do("GET", "/", "")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(lines.String(), "\n"); n == 0 || n > 120 {
		t.Errorf("%d lines of 200 requests, want about 50", n)
	}
}

func BenchmarkForward(b *testing.B) {
	up := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
	})}
	upListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go up.Serve(upListener)
	defer up.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	p := New(Config{})
	if err := p.Apply(context.Background(), Table{Version: 1, Services: []Service{web(rel("r1", 100, at(upListener.Addr().String())))}}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, []net.Listener{l}, nil) }()
	for _, method := range []string{"GET", "POST"} {
		b.Run(method, func(b *testing.B) {
			transport := &http.Transport{MaxIdleConnsPerHost: 256}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			url := fmt.Sprintf("http://%s/", l.Addr())
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					var body io.Reader
					if method == "POST" {
						body = strings.NewReader("a small body")
					}
					req, _ := http.NewRequest(method, url, body)
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		})
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
