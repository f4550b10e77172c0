package prove

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The header fields by which client and service speak of a request. A service need
// know none of them.
const (
	// HeaderID names the request; the service gives it back with its answer, and
	// writes it into its log.
	HeaderID = "X-Load-Id"
	// HeaderRelease, of an answer, is the release that gave it.
	HeaderRelease = "X-Release"
	// HeaderSeen, of an answer, is how often the service has got that ID.
	HeaderSeen = "X-Load-Seen"

	userAgent = "segue-prove"
)

// Kind is what a request asks for: a word for reports.
type Kind string

// Client is one of those that ask.
type Client struct {
	// Number is the client's, from 1.
	Number int
	// Slow clients ask for answers that take long.
	Slow bool
	// Random is for the choice of requests, and for nobody but the client.
	Random *rand.Rand
}

// Source makes the requests of one client: what it returns is called for each of them
// with its ID, one after another.
type Source func(Client) func(id string) *Request

// Request is one request and what its answer must be.
type Request struct {
	Kind Kind
	// HTTP is the request itself. Host, User-Agent, the ID, and what the
	// configuration asks for are added.
	HTTP *http.Request
	// Takes is how long the answer takes on purpose; with it, the request is no part
	// of the report's latency.
	Takes time.Duration
	// Status is what the answer's must be; 0 is any but an error of class 5xx.
	Status int
	// Check reads as much as it needs of the body of an answer with that status. It
	// returns a mismatch (see [Mismatchf]), or the error of reading. It may be nil.
	Check func(*http.Response) error
	// Ended is told how the request ended. It may be nil.
	Ended func(Result)

	id string
}

// mismatch says what is wrong with an answer.
type mismatch string

// Error is part of error.
func (m mismatch) Error() string { return string(m) }

// Mismatchf says what is wrong in the content of an answer.
func Mismatchf(format string, a ...any) error { return mismatch(fmt.Sprintf(format, a...)) }

func isMismatch(err error) bool {
	_, is := errors.AsType[mismatch](err)
	return is
}

// isIdempotent tells the methods of which a request may be sent again without harm (RFC
// 9110 section 9.2.2).
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// Page is a [Source] of requests for one page.
type Page struct {
	// Method is that of all requests that are no POSTs; empty is GET.
	Method string
	// Target is where it is; only its path and query matter, and an empty path is "/".
	Target url.URL
	// Posts is the share of POSTs in percent, each with Body bytes.
	Posts, Body int
}

// Requests is the source.
func (p Page) Requests(c Client) func(id string) *Request {
	method := p.Method
	orDefault(&method, http.MethodGet)
	orDefault(&p.Target.Path, "/")
	return func(string) *Request {
		r := &Request{Kind: Kind(strings.ToLower(method)), HTTP: &http.Request{
			Method: method, URL: &url.URL{Path: p.Target.Path, RawPath: p.Target.RawPath, RawQuery: p.Target.RawQuery},
		}}
		if c.Random.IntN(100) >= p.Posts {
			return r
		}
		r.Kind, r.HTTP.Method = "post", http.MethodPost
		r.HTTP.Header = http.Header{"Content-Type": {"application/octet-stream"}}
		r.HTTP.ContentLength = int64(p.Body)
		r.HTTP.Body = io.NopCloser(io.LimitReader(&filler{}, r.HTTP.ContentLength))
		return r
	}
}

// filler is a body without end, of which byte i is i modulo 251.
type filler struct{ next byte }

// Read is part of [io.Reader].
func (f *filler) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = f.next
		f.next = (f.next + 1) % 251
	}
	return len(b), nil
}
