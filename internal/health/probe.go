package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	// agent is what a probe calls itself.
	agent = "segue-health"
	// maxHead and maxBody bound, in bytes, what a probe reads of an answer. An
	// instance that says more than maxBody has answered all the same.
	maxHead = 64 << 10
	maxBody = 64 << 10

	// defaultTimeout stands for a Timeout of zero: no probe waits for ever.
	defaultTimeout = 5 * time.Second
)

// Probe asks the question once, over a fresh connection and through no proxy,
// and returns nil for a healthy answer. Redirects aren't followed: a 3xx counts
// by its status. The error is one sentence for a person, such as
//
//	GET /healthz: 503, want 2xx or 3xx
//	connect 127.0.0.1:2001: connection refused
//
// It wraps the error of ctx when ctx ended. A Check by Command, File or Notify is
// an error: only a driver can ask it.
func (c Check) Probe(ctx context.Context, t Target) error {
	if !c.ByAddress() {
		return errors.New("health check: none of HTTP, gRPC and TCP; a command, a file or a notify socket is asked by the driver that runs the instance")
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	deadline := time.Now().Add(timeout)
	conn, err := dial(ctx, t, deadline, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.TCP {
		return nil // that it is accepted is the answer
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("ask %s: %w", t.Address, err)
	}
	// An expired deadline breaks off whatever read or write is on.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if c.GRPC != nil {
		return c.GRPC.ask(ctx, conn, timeout)
	}
	return c.HTTP.ask(ctx, conn, t.H2C, timeout)
}

func dial(ctx context.Context, t Target, deadline time.Time, timeout time.Duration) (net.Conn, error) {
	if t.Network != "tcp" && t.Network != "unix" {
		return nil, fmt.Errorf("connect %s: network is %q, want tcp or unix", t.Address, t.Network)
	}
	// No keep-alive probes for a connection this short; no fallback delay, as
	// the address is a number.
	d := net.Dialer{Deadline: deadline, KeepAlive: -1, FallbackDelay: -1}
	conn, err := d.DialContext(ctx, t.Network, t.Address)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("connect %s: %w", t.Address, context.Cause(ctx))
	case isTimeout(err):
		return nil, fmt.Errorf("connect %s: no connection within %v", t.Address, timeout)
	}
	return nil, fmt.Errorf("connect %s: %w", t.Address, bare(err))
}

// ask sends the request on conn and judges the answer. It speaks HTTP/1.1
// itself, by the pieces that net/http has for it, since http.Transport would
// keep goroutines and follow the environment's proxies.
func (h *HTTP) ask(ctx context.Context, conn net.Conn, h2c bool, timeout time.Duration) error {
	status, err := h.exchange(ctx, conn, h2c)
	switch {
	case err == nil:
		return h.judge(status)
	case ctx.Err() != nil:
		return fmt.Errorf("GET %s: %w", h.Path, context.Cause(ctx))
	case isTimeout(err) && status == 0:
		return fmt.Errorf("GET %s: no answer within %v", h.Path, timeout)
	case isTimeout(err):
		return fmt.Errorf("GET %s: %d, but the answer wasn't complete within %v", h.Path, status, timeout)
	case status != 0:
		return fmt.Errorf("GET %s: %d, but the answer broke off: %w", h.Path, status, bare(err))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("GET %s: connection closed without an answer", h.Path)
	}
	return fmt.Errorf("GET %s: %w", h.Path, bare(err))
}

// exchange returns the status of the answer, 0 when none came, and an error
// when the answer didn't come whole.
func (h *HTTP) exchange(ctx context.Context, conn net.Conn, h2c bool) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+h.Path, nil)
	if err != nil {
		return 0, err
	}
	if h.Host != "" {
		req.Host = h.Host
	}
	req.Header.Set("User-Agent", agent)
	if h2c {
		return h.exchangeH2C(req, conn)
	}
	req.Close = true
	// An instance may answer and close without having read the request, which
	// fails the write; what it has answered is there all the same.
	writeErr := req.Write(conn)

	limited := &io.LimitedReader{R: conn, N: maxHead}
	r := bufio.NewReader(limited)
	resp, err := readFinal(r, req)
	if err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("the answer's header is longer than %d bytes", maxHead)
		} else if writeErr != nil {
			err = writeErr
		}
		return 0, err
	}
	defer resp.Body.Close()
	limited.N = 2 * maxBody // room for chunk sizes
	_, err = io.CopyN(io.Discard, resp.Body, maxBody)
	if errors.Is(err, io.EOF) || limited.N <= 0 {
		err = nil
	}
	return resp.StatusCode, err
}

// readFinal reads an answer and skips interim ones (RFC 9110 section 15.2); 101
// is final, as nobody asked to switch.
func readFinal(r *bufio.Reader, req *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
}

func (h *HTTP) judge(status int) error {
	if h.Status != 0 {
		if status == h.Status {
			return nil
		}
		return fmt.Errorf("GET %s: %d, want %d", h.Path, status, h.Status)
	}
	if status >= 200 && status < 400 {
		return nil
	}
	return fmt.Errorf("GET %s: %d, want 2xx or 3xx", h.Path, status)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Starved reports whether a connection failed, or a probe, since this process or this machine
// has too little of something, as descriptors or memory: which says nothing about the instance.
func Starved(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// bare strips the layers that repeat the address and the name of a system call.
func bare(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err
}
