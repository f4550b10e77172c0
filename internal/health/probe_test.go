package health_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/health"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is a safety net, not something that a passing test waits for.
const patience = 30 * time.Second

// listen answers every connection with answer and tells the target.
func listen(t *testing.T, network string, answer func(net.Conn)) health.Target {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			answer(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return health.Target{Network: network, Address: ln.Addr().String()}
}

// say reads a request's head and answers with text.
func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, text)
		}
	}
}

// silent keeps the connection open and says nothing more than text until the
// other side goes.
func silent(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

func get(status int) health.Check {
	return health.Check{HTTP: &health.HTTP{Path: "/healthz?deep=1", Status: status}, Timeout: patience}
}

func TestProbeHTTPStatus(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, c := range []struct {
			status, expected int
			want             string
		}{
			{200, 0, ""}, {204, 0, ""}, {302, 0, ""}, {399, 0, ""},
			{404, 0, "GET /healthz?deep=1: 404, want 2xx or 3xx"},
			{503, 0, "GET /healthz?deep=1: 503, want 2xx or 3xx"},
			{101, 0, "GET /healthz?deep=1: 101, want 2xx or 3xx"},
			{503, 503, ""}, {200, 204, "GET /healthz?deep=1: 200, want 204"},
		} {
			t.Run(fmt.Sprintf("%s/%d_%d", network, c.status, c.expected), func(t *testing.T) {
				target := listen(t, network, say(fmt.Sprintf(
					"HTTP/1.1 %d X\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", c.status)))
				check(t, get(c.expected).Probe(t.Context(), target), c.want)
			})
		}
	}
}

func TestProbeHTTPSendsRequest(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	requests := make(chan *http.Request, 2)
	target := listen(t, "tcp", func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			requests <- r
			_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nfine")
		}
	})
	c := get(0)
	check(t, c.Probe(t.Context(), target), "")
	c.HTTP.Host = "example.com"
	check(t, c.Probe(t.Context(), target), "")
	for _, host := range []string{"localhost", "example.com"} {
		r := <-requests
		if r.Method != "GET" || r.RequestURI != "/healthz?deep=1" || r.Host != host || !r.Close {
			t.Errorf("got %s %s, host %s, close %v; want GET /healthz?deep=1, host %s, close", r.Method, r.RequestURI, r.Host, r.Close, host)
		}
	}
}

func TestProbeHTTPOddAnswers(t *testing.T) {
	for _, c := range []struct{ name, answer, want string }{
		{"interim answer first", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"body over the limit", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1000000), ""},
		{"tiny chunks over the limit", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 100000), ""},
		{"no answer", "", "GET /healthz?deep=1: connection closed without an answer"},
		{"half a header", "HTTP/1.1 200 OK\r\n", "GET /healthz?deep=1: connection closed without an answer"},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "GET /healthz?deep=1: 200, but the answer broke off: unexpected EOF"},
		{"not HTTP", "220 mail.example.com ESMTP\r\n", `GET /healthz?deep=1: malformed HTTP `},
		{"endless header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100000), "GET /healthz?deep=1: the answer's header is longer than 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := get(0).Probe(t.Context(), listen(t, "tcp", say(c.answer)))
			if c.want == "" {
				check(t, err, "")
			} else if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestProbeTimeout(t *testing.T) {
	c := get(0)
	c.Timeout = 20 * time.Millisecond
	check(t, c.Probe(t.Context(), listen(t, "tcp", silent(""))),
		"GET /healthz?deep=1: no answer within 20ms")
	check(t, c.Probe(t.Context(), listen(t, "tcp", silent("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha"))),
		"GET /healthz?deep=1: 200, but the answer wasn't complete within 20ms")
}

func TestProbeCanceled(t *testing.T) {
	cause := errors.New("instance has ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	target := listen(t, "tcp", func(conn net.Conn) {
		cancel(cause)
		silent("")(conn)
	})
	if err := get(0).Probe(ctx, target); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	if err := get(0).Probe(ctx, target); !errors.Is(err, cause) {
		t.Errorf("already canceled: got %v, want %v", err, cause)
	}
}

func TestProbeTCP(t *testing.T) {
	c := health.Check{TCP: true, Timeout: patience}
	for _, network := range []string{"tcp", "unix"} {
		check(t, c.Probe(t.Context(), listen(t, network, func(net.Conn) {})), "")
	}
}

func TestProbeCannotConnect(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	_ = ln.Close()
	missing := filepath.Join(t.TempDir(), "s")
	for _, c := range []health.Check{{TCP: true, Timeout: patience}, get(0)} {
		check(t, c.Probe(t.Context(), health.Target{Network: "tcp", Address: closed}),
			"connect "+closed+": connection refused")
		check(t, c.Probe(t.Context(), health.Target{Network: "unix", Address: missing}),
			"connect "+missing+": no such file or directory")
		check(t, c.Probe(t.Context(), health.Target{Network: "udp", Address: closed}),
			"connect "+closed+`: network is "udp", want tcp or unix`)
	}
}

// TestProbeOfWhatOnlyADriverCanAsk: nobody is called, and there needn't be anybody.
func TestProbeOfWhatOnlyADriverCanAsk(t *testing.T) {
	target := listen(t, "tcp", func(net.Conn) { t.Error("somebody called") })
	for name, c := range map[string]health.Check{
		"nothing": {}, "command": {Command: []string{"true"}}, "file": {File: "ready"}, "notify": {Notify: true},
	} {
		for _, to := range []health.Target{target, {}} {
			if err := c.Probe(t.Context(), to); err == nil || !strings.Contains(err.Error(), "the driver that runs the instance") {
				t.Errorf("%s at %+v: got %v", name, to, err)
			}
		}
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
