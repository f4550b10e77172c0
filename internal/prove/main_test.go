package prove

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// safetyNet ends a test that hangs.
const safetyNet = time.Minute

// generator makes one, with defaults that suit a test, for a service that marks its
// answers.
func generator(t *testing.T, cfg Config) *Generator {
	t.Helper()
	orDefault(&cfg.Timeout, safetyNet)
	cfg.Marked = true
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// run runs the load to its end; the report must add up.
func run(t *testing.T, g *Generator) Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), safetyNet)
	defer cancel()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Error("the load didn't end by itself")
	}
	r := g.Report()
	checkSums(t, r)
	if r.InFlight != 0 {
		t.Errorf("%d requests in flight after the end", r.InFlight)
	}
	if t.Failed() {
		t.Log(r)
	}
	return r
}

// checkSums checks that every request is counted once.
func checkSums(t *testing.T, r Report) {
	t.Helper()
	var kinds, releases, causes uint64
	for _, c := range r.Kinds {
		kinds += c.Ended()
	}
	for _, c := range r.Releases {
		releases += c.Ended()
	}
	for _, n := range r.Causes {
		causes += n
	}
	if r.Sent != r.Ended()+r.InFlight || kinds != r.Ended() || releases != r.Ended() || causes != r.Ended()-r.OK {
		t.Errorf("the counts don't add up: %d by kind, %d by release, %d causes, %+v", kinds, releases, causes, r)
	}
}

// service answers as the guide asks for.
func service(release string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Release", release)
		w.Header().Set("X-Load-Id", r.Header.Get("X-Load-Id"))
		fmt.Fprintln(w, "hello")
	})
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// wire is a server's side of a connection, for servers that net/http is too
// polite to be.
type wire struct {
	*net.TCPConn
	in *bufio.Reader
	t  *testing.T
}

// request reads the next request and its body, or returns nil when the client has
// gone.
func (w *wire) request() *http.Request {
	r, err := http.ReadRequest(w.in)
	if err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil
	}
	return r
}

func (w *wire) say(format string, a ...any) {
	if _, err := fmt.Fprintf(w, format, a...); err != nil {
		w.t.Logf("server: %v", err)
	}
}

// answer is a right answer to a GET of the request of that id, with more header
// lines.
func answer(id, header string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Release: r1\r\nX-Load-Id: %s\r\nContent-Length: 6\r\n%s\r\nhello\n", id, header)
}

// reset ends the connection with RST.
func (w *wire) reset() {
	_ = w.SetLinger(0)
	_ = w.Close()
}

// serveWire serves each connection by handle, which gets its number from 1.
func serveWire(t *testing.T, handle func(w *wire, number int)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for number := 1; ; number++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			handle(&wire{TCPConn: c.(*net.TCPConn), in: bufio.NewReader(c), t: t}, number)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}
