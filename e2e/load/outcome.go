package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Outcome is how a request ended; every request has exactly one.
type Outcome string

// The outcomes.
const (
	// OK: the service answered, whole and right.
	OK Outcome = "ok"
	// Lost: there was no whole answer of the service. The package doc has the
	// rule.
	Lost Outcome = "lost"
	// Wrong: a whole answer came, but not the right one: for another request,
	// from nobody (no X-Release), with another status than 200 (201 for a Write) or
	// an error of the service, with other content than was asked for, or followed
	// by bytes that nobody asked for.
	Wrong Outcome = "wrong"
	// ServiceError: the service itself answered with a 5xx.
	ServiceError Outcome = "service_error"
)

// Failure is a request that was not OK.
type Failure struct {
	// At is when its first byte was written, or when its connection was tried.
	At      time.Time `json:"at"`
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Outcome Outcome   `json:"outcome"`
	// Cause says in a word what happened: "refused", "connect" (any other
	// failure to connect), "closed" (before the answer began), "truncated" (in
	// the middle of it), "reset", "timeout", "unanswered" (when the load ended),
	// "malformed", "status 503", "unmarked" (no X-Release), "id", "content",
	// "extra" (bytes after the answer).
	Cause string `json:"cause"`
	Error string `json:"error"`
	// Release and Status are of the answer, as far as there was one.
	Release string        `json:"release,omitempty"`
	Status  int           `json:"status,omitempty"`
	Took    time.Duration `json:"took"`
	// LocalPort is the client's, 0 without a connection; Reused says that the
	// connection had carried requests before.
	LocalPort int  `json:"local_port,omitempty"`
	Reused    bool `json:"reused,omitempty"`
}

// String is one line.
func (f Failure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s after %s: %s: %s", f.At.Format("15:04:05.000"), f.Outcome, f.Kind, f.ID,
		f.Took.Round(time.Millisecond), f.Cause, f.Error)
	if f.Release != "" {
		fmt.Fprintf(&b, "; release %s", f.Release)
	}
	if f.LocalPort != 0 {
		fmt.Fprintf(&b, "; from port %d", f.LocalPort)
	}
	if f.Reused {
		b.WriteString(", a reused connection")
	}
	return b.String()
}

// result is how one request ended.
type result struct {
	id        string
	kind      Kind
	started   time.Time
	took      time.Duration
	outcome   Outcome
	cause     string
	err       error // nil when OK
	release   string
	status    int
	whole     bool // an answer came whole
	localPort int
	reused    bool
}

// lost fills in that the request got no whole answer on the connection, or no
// connection (nil), because of err.
func (r *result) lost(cutting context.Context, err error, cn *conn) {
	r.outcome, r.err = Lost, err
	if cutting.Err() != nil {
		r.cause = "unanswered"
		return
	}
	r.cause = causeOf(err, cn)
}

func causeOf(err error, cn *conn) string {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case timeout != nil && timeout.Timeout():
		return "timeout"
	case cn == nil:
		return "connect"
	case cn.ended && cn.received == 0:
		return "closed"
	case cn.ended:
		// Whatever the parser made of the half that it got.
		return "truncated"
	default:
		return "malformed"
	}
}

// judge fills in the outcome of a whole answer. content is what is wrong in its
// body, extra how many bytes came after it.
func (c *client) judge(resp *http.Response, r *request, content error, extra int, res *result) {
	res.whole = true
	end := func(o Outcome, cause string, err error) { res.outcome, res.cause, res.err = o, cause, err }
	status := "status " + strconv.Itoa(resp.StatusCode)
	ids := resp.Header.Values("X-Load-Id")
	switch {
	case res.release == "" && resp.StatusCode >= 400:
		end(Lost, status, errors.New("an error without X-Release: it is not from the service"))
	case res.release == "":
		end(Wrong, "unmarked", fmt.Errorf("status %d without X-Release: it is not from the service", resp.StatusCode))
	case len(ids) != 1 || ids[0] != r.id:
		end(Wrong, "id", c.otherID(ids))
	case extra > 0:
		end(Wrong, "extra", fmt.Errorf("%d bytes follow the answer, as if it had been given twice", extra))
	case resp.StatusCode >= 500:
		end(ServiceError, status, errors.New("the service failed"))
	case resp.StatusCode != r.status:
		end(Wrong, status, errors.New("the service didn't take the request for what it was"))
	case content != nil:
		end(Wrong, "content", content)
	default:
		end(OK, "", nil)
	}
}

// otherID says for which request an answer was that was not for the last one.
func (c *client) otherID(ids []string) error {
	if len(ids) != 1 {
		return fmt.Errorf("the answer has %d ids: %q", len(ids), ids)
	}
	own, is := strings.CutPrefix(ids[0], fmt.Sprintf("%s-%d-", c.id, c.number))
	if n, err := strconv.ParseUint(own, 10, 64); is && err == nil && n < c.asked {
		return fmt.Errorf("the answer is for %s, which had ended: it was answered twice, or late", ids[0])
	}
	return fmt.Errorf("the answer is for %s", ids[0])
}
