package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// copyTime is the longest that a copy may take beyond the times for a connection and
// for the head of the answer.
const copyTime = time.Minute

// mirror is a service's mirror in one table.
type mirror struct {
	Mirror
	candidate *release
}

// newMirror returns nil when nothing is to be copied.
func newMirror(m *Mirror, candidate *release) *mirror {
	if m == nil || candidate == nil || m.Share == 0 {
		return nil
	}
	return &mirror{*m, candidate}
}

// copies are the copies of requests that are under way. A copy has a goroutine of
// its own; the request itself only meets the lock here, and nothing that blocks.
type copies struct {
	running sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	// open are those whose goroutine runs, with what breaks each off.
	open map[*copied]context.CancelFunc
	// services has the counts of each service.
	services map[string]*mirrored
}

// mirrored is what is counted of one service's copies.
type mirrored struct {
	service string
	stats   MirrorStats
	// open is how many goroutines run.
	open int
}

func newCopies() *copies {
	return &copies{open: make(map[*copied]context.CancelFunc), services: make(map[string]*mirrored)}
}

// copied is a request and its copy. Whichever ends last compares their answers.
type copied struct {
	copies   *copies
	counts   *mirrored
	rule     *mirror
	upstream *upstream
	// body sums up the body of the request's own answer.
	body digest

	// copies.mu guards what follows. first is the answer of the one that has ended
	// first, over is set when there is nothing more to compare, and brokenOff when
	// the copy's failure is not the candidate's.
	first           *reply
	over, brokenOff bool
}

// reply is an answer as it is compared.
type reply struct {
	// status is 0 when there was no whole answer.
	status int
	// sum is the SHA-256 of the body if bodies are compared, and nil if it was
	// too long.
	sum []byte
}

// mirror begins a copy of a request, if it is one of those to be copied; or else it
// returns nil. The request is on its way to a release, with the head that head returns.
func (f *flight) mirror(r *h1.Request, o *origin, head func() []byte) *copied {
	s := f.service
	if s.mirror == nil || !copyable(r, o) || s.mirror.candidate.account == f.account || rand.Float64()*100 >= s.mirror.Share {
		return nil
	}
	p, _ := s.mirror.candidate.choose(nil, rand.IntN)
	if p == nil || p.upstream.target.H2C {
		return nil
	}
	cfg := &f.loop.p.cfg
	c := &copied{copies: f.loop.p.copies, rule: s.mirror, upstream: p.upstream, body: s.mirror.digest()}
	ctx := c.copies.begin(c, s, cfg)
	if ctx == nil {
		return nil
	}
	go c.run(ctx, string(r.Method), copyHead(head()), cfg)
	return c
}

// copyable reports whether a copy does no harm: the method is safe (RFC 9110 section
// 9.2.1), there is no body, and no protocol to change to. A copy isn't copied again.
func copyable(r *h1.Request, o *origin) bool {
	switch string(r.Method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		_, isCopy := r.Get(h1.Mirror)
		return r.Body == h1.NoBody && r.Protocol == nil && (!isCopy || !o.trusted)
	}
	return false
}

// begin counts a copy, and returns the context of its goroutine, which ends when the
// copy has to; nil if there is to be none.
func (cs *copies) begin(c *copied, s *service, cfg *Config) (ctx context.Context) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.stopped {
		return nil
	}
	c.counts = cs.countsOf(s.name)
	if c.counts.open >= c.rule.MaxInFlight {
		c.counts.stats.Dropped++
		return nil
	}
	c.counts.stats.Sent++
	c.counts.open++
	cs.running.Add(1)
	ctx, cs.open[c] = context.WithTimeout(context.Background(), cfg.ConnectTimeout+cfg.ResponseHeaderTimeout+copyTime)
	return ctx
}

func (cs *copies) countsOf(service string) *mirrored {
	counts := cs.services[service]
	if counts == nil {
		counts = &mirrored{service: service}
		cs.services[service] = counts
	}
	return counts
}

// follow breaks off the copies that go where the table c, which is in force in every
// loop, has none go.
func (cs *copies) follow(c *compiled) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for copied := range cs.open {
		s := c.service(copied.counts.service)
		if s == nil || s.mirror == nil || !slices.ContainsFunc(s.mirror.candidate.pools, func(p *pool) bool { return p.upstream == copied.upstream }) {
			cs.breakOff(copied)
		}
	}
}

// stop breaks off all copies, lets no more begin, and waits for their ends.
func (cs *copies) stop() {
	cs.mu.Lock()
	cs.stopped = true
	for copied := range cs.open {
		cs.breakOff(copied)
	}
	cs.mu.Unlock()
	cs.running.Wait()
}

// breakOff is called with the lock held.
func (cs *copies) breakOff(c *copied) {
	c.brokenOff = true
	cs.open[c]()
}

// snapshot returns the counts of now.
func (cs *copies) snapshot(service string) MirrorStats {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if counts := cs.services[service]; counts != nil {
		return counts.stats
	}
	return MirrorStats{}
}

// run sends the copy and takes its answer.
func (c *copied) run(ctx context.Context, method string, head []byte, cfg *Config) {
	defer c.copies.running.Done()
	answer, err := c.fetch(ctx, method, head, cfg)
	c.copies.mu.Lock()
	defer c.copies.mu.Unlock()
	c.copies.open[c]()
	delete(c.copies.open, c)
	c.counts.open--
	switch {
	case err == nil:
		c.ended(answer)
		return
	case c.brokenOff:
		c.counts.stats.Uncompared++
	default:
		c.counts.stats.Failed++
	}
	c.over = true
}

// fetch reads the whole answer. It takes a connection of its own: a kept one may be
// dead, and a copy isn't sent twice. An instance that is not there is ejected, as by a
// request.
func (c *copied) fetch(ctx context.Context, method string, head []byte, cfg *Config) (reply, error) {
	dialer := net.Dialer{Timeout: cfg.ConnectTimeout}
	target := c.upstream.target
	conn, err := dialer.DialContext(ctx, target.Network, target.Address)
	if err != nil {
		if ctx.Err() == nil {
			c.upstream.unreachable(err)
		}
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(cfg.ResponseHeaderTimeout))
	if _, err := conn.Write(head); err != nil {
		return reply{}, err
	}
	resp, err := readFinalHead(conn, method, cfg)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	conn.SetDeadline(time.Time{})
	body := c.rule.digest()
	if _, err := io.Copy(&body, resp.Body); err != nil {
		return reply{}, fmt.Errorf("read the answer to a copy: %w", err)
	}
	return reply{resp.StatusCode, body.sum()}, nil
}

// copyHead is a request's head with the fields that make it a copy's.
func copyHead(head []byte) []byte {
	out := append([]byte(nil), bytes.TrimSuffix(head, []byte("\r\n"))...)
	out = appendField(out, mirrorHeader, "1")
	out = appendField(out, "Connection", "close")
	return append(out, '\r', '\n')
}

// readFinalHead reads heads until one isn't informational.
func readFinalHead(conn net.Conn, method string, cfg *Config) (*http.Response, error) {
	limited := &io.LimitedReader{R: conn, N: int64(cfg.maxAnswerHead())}
	r := bufio.NewReader(limited)
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, errNotAskedFor
		case resp.StatusCode >= 200:
			limited.N = math.MaxInt64 // the body may be longer than the head
			return resp, nil
		}
	}
}

// passed takes a piece of the body of the request's own answer; c may be nil.
func (c *copied) passed(piece []byte) {
	if c != nil {
		_, _ = c.body.Write(piece) // which can't fail
	}
}

// passedChunks takes a piece of such a body in chunks, which plain has followed until
// now; c may be nil. What is wrong with it, others find.
func (c *copied) passedChunks(piece []byte, plain *h1.Chunked) {
	if c == nil || c.body.hash == nil {
		return
	}
	text := bytes.Clone(piece)
	kept, _, _ := plain.Filter(text, false)
	c.passed(text[:kept])
}

// answered takes the end of the request itself, with the status of its answer, or 0
// when it got none or not all of it; c may be nil.
func (c *copied) answered(status int) {
	if c == nil {
		return
	}
	own := reply{status, c.body.sum()}
	c.copies.mu.Lock()
	defer c.copies.mu.Unlock()
	c.ended(own)
}

// ended compares, if both have ended. The lock is held.
func (c *copied) ended(r reply) {
	switch {
	case c.over:
	case c.first == nil:
		c.first = &r
	default:
		c.over = true
		*c.rule.compare(&c.counts.stats, *c.first, r)++
	}
}

// compare returns the counter of what comes out.
func (m *mirror) compare(s *MirrorStats, a, b reply) *uint64 {
	switch {
	case a.status == 0 || b.status == 0:
		return &s.Uncompared
	case a.status != b.status:
		return &s.Different
	case !m.CompareBody:
		return &s.Same
	case a.sum == nil || b.sum == nil:
		return &s.Uncompared
	case !bytes.Equal(a.sum, b.sum):
		return &s.Different
	}
	return &s.Same
}

// digest sums up a body.
type digest struct {
	// hash is nil when bodies are not compared, or this one is too long.
	hash hash.Hash
	left int64
}

func (m *mirror) digest() digest {
	if !m.CompareBody {
		return digest{}
	}
	return digest{sha256.New(), m.MaxBody}
}

// Write never fails.
func (d *digest) Write(p []byte) (int, error) {
	if d.left -= int64(len(p)); d.left < 0 {
		d.hash = nil
	}
	if d.hash != nil {
		d.hash.Write(p)
	}
	return len(p), nil
}

func (d *digest) sum() []byte {
	if d.hash == nil {
		return nil
	}
	return d.hash.Sum(nil)
}

func (m *Mirror) validate() error {
	switch {
	case m == nil:
		return nil
	case !(m.Share >= 0 && m.Share <= 100):
		return fmt.Errorf("its share is %v, want 0 to 100 percent", m.Share)
	case m.MaxInFlight < 1:
		return fmt.Errorf("its max_in_flight is %d, want at least 1", m.MaxInFlight)
	case m.CompareBody && m.MaxBody < 1:
		return fmt.Errorf("its max_body is %d, want at least 1 byte to compare bodies", m.MaxBody)
	}
	return nil
}
