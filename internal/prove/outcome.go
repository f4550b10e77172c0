package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	// from nobody (no X-Release, with [Config.Marked]), with another status than
	// [Request.Status] or an error of the service, with other content than was asked
	// for, or followed by bytes that nobody asked for.
	Wrong Outcome = "wrong"
	// Duplicated: the service said that it had got the request more than once, which
	// may not be sent again (RFC 9110 section 9.2.2 has the methods that may).
	Duplicated Outcome = "duplicated"
	// ServiceError: the service itself answered with a 5xx.
	ServiceError Outcome = "service_error"
	// Shed: Segue refused the request since the service had more to do than it may, and
	// said when to come again (503 with Retry-After). It is known that nothing was done.
	Shed Outcome = "shed"
)

// Failure is a request that was not OK.
type Failure struct {
	// Began is when its connection was looked for, or made, and At when its first byte was
	// written, or when its connection was tried.
	Began   time.Time `json:"began"`
	At      time.Time `json:"at"`
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Outcome Outcome   `json:"outcome"`
	// Cause says in a word what happened: "refused", "connect" (any other
	// failure to connect), "closed" (before the answer began), "truncated" (in
	// the middle of it), "reset", "timeout", "unanswered" (when the load ended),
	// "malformed", "status 503", "unmarked" (no X-Release), "id", "content",
	// "extra" (bytes after the answer), "seen" (more than once).
	Cause string `json:"cause"`
	Error string `json:"error"`
	// Release and Status are of the answer, as far as there was one.
	Release string `json:"release,omitempty"`
	Status  int    `json:"status,omitempty"`
	// Took is from Began to the end.
	Took time.Duration `json:"took"`
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

// Result is how one request ended. Its fields are those of [Failure].
type Result struct {
	ID      string
	Kind    Kind
	Began   time.Time
	Started time.Time
	Took    time.Duration
	Outcome Outcome
	Cause   string
	Err     error // nil when OK
	Release string
	Status  int
	// Whole says that an answer came, and to its end.
	Whole bool

	client     int
	number     uint64 // of the client's requests
	slow       bool
	idempotent bool
	echoed     bool
	seen       uint64 // how often the service has got it, by its word
	localPort  int
	reused     bool
}

// served reports whether the service itself has answered.
func (r *Result) served() bool { return r.Outcome != Lost && r.Outcome != Shed }

// lost fills in that the request got no whole answer on the connection, or no
// connection (nil), because of err.
func (r *Result) lost(cutting context.Context, err error, cn *conn) {
	r.Outcome, r.Err = Lost, err
	if cutting.Err() != nil {
		r.Cause = "unanswered"
		return
	}
	r.Cause = causeOf(err, cn)
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

// ending is what there is to say of a whole answer beside its head: what is wrong in
// its body, how many bytes came after it, and whether Segue gave it itself.
type ending struct {
	content       error
	extra         int
	bySegue, shed bool
}

// judge fills in the outcome of a whole answer.
func (c *client) judge(resp *http.Response, r *Request, a ending, res *Result) {
	res.Whole = true
	end := func(o Outcome, cause string, err error) { res.Outcome, res.Cause, res.Err = o, cause, err }
	status := "status " + strconv.Itoa(resp.StatusCode)
	ids := resp.Header.Values(HeaderID)
	res.echoed = len(ids) == 1 && ids[0] == r.id
	res.seen = seenTimes(resp)
	switch {
	case a.shed:
		end(Shed, status, errors.New("the service has more to do than it may"))
	case a.bySegue:
		end(Lost, status, errors.New("an error of Segue: the service didn't answer"))
	case c.cfg.Marked && res.Release == "" && resp.StatusCode >= 400:
		end(Lost, status, errors.New("an error without X-Release: it is not from the service"))
	case c.cfg.Marked && res.Release == "":
		end(Wrong, "unmarked", fmt.Errorf("status %d without X-Release: it is not from the service", resp.StatusCode))
	case !res.echoed && (c.cfg.Marked || len(ids) > 0):
		end(Wrong, "id", c.otherID(ids))
	case a.extra > 0:
		end(Wrong, "extra", fmt.Errorf("%d bytes follow the answer, as if it had been given twice", a.extra))
	case res.seen > 1 && !res.idempotent:
		end(Duplicated, "seen", fmt.Errorf("the service has got the request %d times", res.seen))
	case resp.StatusCode >= 500:
		end(ServiceError, status, errors.New("the service failed"))
	case r.Status != 0 && resp.StatusCode != r.Status:
		end(Wrong, status, errors.New("the service didn't take the request for what it was"))
	case a.content != nil:
		end(Wrong, "content", a.content)
	default:
		end(OK, "", nil)
	}
}

// otherID says for which request an answer was that was not for the last one.
func (c *client) otherID(ids []string) error {
	if len(ids) != 1 {
		return fmt.Errorf("the answer has %d ids: %q", len(ids), ids)
	}
	own, is := strings.CutPrefix(ids[0], fmt.Sprintf("%s-%d-", c.id, c.Number))
	if n, err := strconv.ParseUint(own, 10, 64); is && err == nil && n < c.asked {
		return fmt.Errorf("the answer is for %s, which had ended: it was answered twice, or late", ids[0])
	}
	return fmt.Errorf("the answer is for %s", ids[0])
}

// seenTimes is how often the service says that it has got the request; 0 is not
// known.
func seenTimes(resp *http.Response) uint64 {
	n, err := strconv.ParseUint(resp.Header.Get(HeaderSeen), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// bySegue tells an answer that Segue gave in the service's place: it came through the
// proxy, and is a text that begins with "segue: " and the status. The answer to a HEAD
// has no text; there, a gateway's error of which no release says that it is its own is
// Segue's.
func bySegue(resp *http.Response, begin []byte) bool {
	via := resp.Header.Get("Via")
	switch {
	case resp.StatusCode < 400 || !strings.HasSuffix(via, " segue"):
		return false
	case resp.Request != nil && resp.Request.Method == http.MethodHead:
		return resp.StatusCode >= 502 && resp.StatusCode <= 504 && resp.Header.Get(HeaderRelease) == ""
	}
	return bytes.HasPrefix(begin, fmt.Appendf(nil, "segue: %d ", resp.StatusCode))
}

// shedText is how the text begins with which Segue sheds a request.
const shedText = "segue: 503 Service Unavailable: the service has more to do "

// isShed tells that Segue has shed the request, by its text: the answer to a HEAD has none.
func isShed(resp *http.Response, begin []byte) bool {
	return bySegue(resp, begin) && resp.Header.Get("Retry-After") != "" && bytes.HasPrefix(begin, []byte(shedText))
}

// heldBack keeps the beginning of what is read.
type heldBack struct {
	io.ReadCloser
	begin []byte
}

// Read is part of [io.Reader].
func (h *heldBack) Read(b []byte) (int, error) {
	n, err := h.ReadCloser.Read(b)
	if room := len(shedText) - len(h.begin); room > 0 {
		h.begin = append(h.begin, b[:min(n, room)]...)
	}
	return n, err
}
