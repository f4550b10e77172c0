package load

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a request asks for.
type Kind string

// The kinds of requests.
const (
	// Get is GET /: the answer names release and id, in its body, too, if that
	// is JSON.
	Get Kind = "get"
	// Echo is POST /echo with a body of 1 byte to 256 KiB, one in four in
	// chunks: the answer has its length and SHA-256.
	Echo Kind = "echo"
	// Bytes is GET /bytes?n=: byte i of the answer is i modulo 251.
	Bytes Kind = "bytes"
	// Slow is GET /slow?d=: lines "N RELEASE ID", N counting from 1, and "end".
	Slow Kind = "slow"
	// Write is POST /entries with the request's id and an amount, an insert into
	// examples/ledger: the answer is 201 with the id and a row number.
	Write Kind = "write"
	// Read is GET /entries/ID of the last entry that the client has written: the
	// answer has it as it was written. Before there is one, a Write takes its
	// place.
	Read Kind = "read"
)

const (
	maxBody = 256 << 10
	// pattern is what the bytes of Bytes are counted modulo.
	pattern = 251
)

// request is one request and what its answer must be.
type request struct {
	id    string
	kind  Kind
	http  *http.Request
	takes time.Duration // how long the answer takes on purpose
	// status is what the answer's must be.
	status int
	// entry is what a Write writes; check fills in its row. nil for other kinds.
	entry *entry
	// check reads as much as it needs of the body of an answer with that status.
	// It returns a mismatch, or the error of reading.
	check func(*http.Response) error
}

// mismatch says what is wrong with an answer.
type mismatch string

func (m mismatch) Error() string { return string(m) }

func mismatchf(format string, a ...any) error { return mismatch(fmt.Sprintf(format, a...)) }

func isMismatch(err error) bool {
	_, is := errors.AsType[mismatch](err)
	return is
}

// next makes the client's next request.
func (c *client) next() *request {
	c.asked++
	r := &request{id: fmt.Sprintf("%s-%d-%d", c.id, c.number, c.asked), kind: c.choose(), status: http.StatusOK}
	r.http = &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Path: "/"},
		Host:   c.cfg.Host,
		Header: http.Header{"X-Load-Id": {r.id}, "User-Agent": {"segue-load"}},
		// A client that wants no further answer may say so or just close.
		Close: c.fresh && c.random.IntN(2) == 0,
	}
	c.nextHeader(r)
	switch r.kind {
	case Get:
		r.check = r.checkGet
	case Echo:
		c.nextEcho(r)
	case Bytes:
		n := c.size()
		r.http.URL = &url.URL{Path: "/bytes", RawQuery: "n=" + strconv.Itoa(n)}
		r.check = func(resp *http.Response) error { return checkBytes(resp, n) }
	case Slow:
		r.takes = (c.cfg.SlowFor/2 + time.Duration(c.random.Int64N(int64(c.cfg.SlowFor/2)+1))).Truncate(time.Millisecond)
		// In seconds always, which any language parses.
		r.http.URL = &url.URL{Path: "/slow", RawQuery: fmt.Sprintf("d=%.3fs", r.takes.Seconds())}
		r.check = r.checkSlow
	case Write:
		c.nextWrite(r)
	case Read:
		e := *c.wrote
		r.http.URL = &url.URL{Path: "/entries/" + e.ID}
		r.check = func(resp *http.Response) error { return r.checkRead(resp, e) }
	}
	return r
}

// nextHeader adds what the configuration and the answers before ask for.
func (c *client) nextHeader(r *request) {
	for name, values := range c.cfg.Header {
		r.http.Header[name] = values
	}
	for _, name := range slices.Sorted(maps.Keys(c.cookies)) {
		r.http.AddCookie(&http.Cookie{Name: name, Value: c.cookies[name]})
	}
}

func (c *client) nextEcho(r *request) {
	n := c.size()
	from := c.random.IntN(len(c.bodies) - n + 1)
	body := c.bodies[from : from+n]
	r.http.Method = http.MethodPost
	r.http.URL = &url.URL{Path: "/echo"}
	r.http.Header.Set("Content-Type", "application/octet-stream")
	r.http.Body = io.NopCloser(bytes.NewReader(body))
	r.http.ContentLength = int64(n)
	if c.random.IntN(4) == 0 {
		r.http.ContentLength = -1
	}
	r.check = func(resp *http.Response) error { return r.checkEcho(resp, body) }
}

func (c *client) choose() Kind {
	if c.slow {
		return Slow
	}
	m := c.cfg.Mix
	n := c.random.IntN(m.Get + m.Echo + m.Bytes + m.Write + m.Read)
	for _, w := range []struct {
		kind   Kind
		weight int
	}{{Get, m.Get}, {Echo, m.Echo}, {Bytes, m.Bytes}, {Write, m.Write}} {
		if n < w.weight {
			return w.kind
		}
		n -= w.weight
	}
	if c.wrote == nil {
		return Write
	}
	return Read
}

// size is a random size from 1 to maxBody, each power of two as likely as any
// other: most bodies are small, some fill every buffer on their way.
func (c *client) size() int {
	return min(maxBody, int(math.Exp(c.random.Float64()*math.Log(maxBody+1))))
}

// said is what the service's JSON says.
type said struct {
	Release string `json:"release"`
	LoadID  string `json:"load_id"`
	Length  *int64 `json:"length"`
	SHA256  string `json:"sha256"`
	// Of examples/ledger.
	ID    string `json:"id"`
	Row   int64  `json:"row"`
	Entry *entry `json:"entry"`
}

// checkJSON reads the body as JSON that must name the id and the release of the
// header.
func (r *request) checkJSON(resp *http.Response) (said, error) {
	var s said
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, mismatchf("the body is not the JSON it should be: %v", err)
	}
	if s.LoadID != r.id {
		return s, mismatchf("the body answers %q", s.LoadID)
	}
	if h := resp.Header.Get("X-Release"); s.Release != h {
		return s, mismatchf("the body is of %q, the header of %q", s.Release, h)
	}
	return s, nil
}

func (r *request) checkGet(resp *http.Response) error {
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "application/json" {
		return nil
	}
	_, err := r.checkJSON(resp)
	return err
}

func (r *request) checkEcho(resp *http.Response, body []byte) error {
	s, err := r.checkJSON(resp)
	if err != nil {
		return err
	}
	if s.Length == nil || *s.Length != int64(len(body)) {
		got := "no length"
		if s.Length != nil {
			got = fmt.Sprintf("%d bytes", *s.Length)
		}
		return mismatchf("the service got %s of %d", got, len(body))
	}
	if sum := sha256.Sum256(body); s.SHA256 != hex.EncodeToString(sum[:]) {
		return mismatchf("the service got %d bytes, but not those that were sent", len(body))
	}
	return nil
}

func checkBytes(resp *http.Response, n int) error {
	in := bufio.NewReader(resp.Body)
	for i := 0; ; i++ {
		b, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && i == n:
			return nil
		case errors.Is(err, io.EOF):
			return mismatchf("ended after %d of %d bytes", i, n)
		case err != nil:
			return err
		case i == n:
			return mismatchf("goes on after %d bytes", n)
		case b != byte(i%pattern):
			return mismatchf("byte %d is %d, want %d", i, b, i%pattern)
		}
	}
}

func (r *request) checkSlow(resp *http.Response) error {
	release := resp.Header.Get("X-Release")
	in := bufio.NewReader(resp.Body)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return mismatchf("ended with %q, before the line \"end\"", line)
		}
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "end" {
			return r.checkEnd(in, n-1)
		}
		if want := fmt.Sprintf("%d %s %s", n, release, r.id); line != want {
			return mismatchf("line %q, want %q", line, want)
		}
	}
}

// checkEnd checks what there is after the line "end", and how many came before.
func (r *request) checkEnd(in *bufio.Reader, lines int) error {
	if want := int(r.takes / (100 * time.Millisecond)); lines != want {
		return mismatchf("%d lines, want %d", lines, want)
	}
	if _, err := in.ReadByte(); err == nil {
		return mismatch("goes on after the line \"end\"")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
