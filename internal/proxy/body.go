package proxy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// copyBuffer is the size of the pieces in which bodies are passed on.
	copyBuffer = 32 << 10
	// chunkHead is room for the size line of a chunk in front of a piece,
	// chunkTail for what ends it.
	chunkHead = 10
	chunkTail = 2

	// continueTimeout is how long an upstream may take to ask for a body that
	// was announced with "Expect: 100-continue" (RFC 9110 section 10.1.1: a
	// client must not wait for ever).
	continueTimeout = time.Second

	// uploadGrace is how long an upstream may go on reading a body after its
	// answer has ended. For the others see [upload.linger].
	uploadGrace = 250 * time.Millisecond
	lingerIdle  = time.Second
	lingerTotal = 10 * time.Second
)

// errNotWanted means that an upstream answered without asking for the body.
var errNotWanted = errors.New("the upstream didn't want the body")

// requestBody is a request's body on its way through. It keeps the first bytes, so
// that it can be read again from the beginning.
type requestBody struct {
	src io.Reader
	// length is that announced, -1 for chunked.
	length int64
	// request has the trailer at the end of src.
	request *http.Request
	// setDeadline bounds the reads of src.
	setDeadline func(time.Time) error

	// kept are the first bytes of src, as long as there are no more than
	// limit; at is the place in them where the next Read begins.
	kept  []byte
	at    int
	limit int
	lost  bool

	// ended is set when everything was read from src. It may be asked for while
	// another goroutine reads.
	ended atomic.Bool
	// err is why src broke off; not io.EOF. broke tells so to another goroutine.
	err   error
	broke atomic.Bool
}

// Read returns what was kept first, and then what comes from the client.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.at < len(b.kept) {
		n := copy(p, b.kept[b.at:])
		b.at += n
		if b.at == len(b.kept) && b.ended.Load() {
			return n, io.EOF
		}
		return n, nil
	}
	if b.ended.Load() {
		return 0, io.EOF
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.keep(p[:n])
	switch {
	case err == io.EOF:
		b.ended.Store(true)
		_ = b.setDeadline(time.Time{})
	case err != nil:
		b.err = err
		b.broke.Store(true)
	}
	return n, err
}

func (b *requestBody) keep(p []byte) {
	if b.lost || len(p) == 0 {
		return
	}
	if len(b.kept)+len(p) > b.limit {
		b.kept, b.at, b.lost = nil, 0, true
		return
	}
	b.kept = append(b.kept, p...)
	b.at = len(b.kept)
}

// replayable reports whether the body can be read from its beginning again.
func (b *requestBody) replayable() bool { return b == nil || (!b.lost && b.err == nil) }

// rewind makes Read begin again.
func (b *requestBody) rewind() { b.at = 0 }

// upload is the passing on of a request's body, by a goroutine of its own, since
// the answer may come before its end.
type upload struct {
	// done is closed at the end; err is why it ended early, and complete
	// that the upstream has all of it.
	done     chan struct{}
	err      error
	complete bool
	// stalled is set when the upstream took nothing of the body for too long.
	stalled atomic.Bool
	// wanted is closed when the upstream asks for the body, unwanted when it
	// has answered, or failed, without.
	wanted, unwanted chan struct{}
	buffers          *sync.Pool
}

// startUpload begins to pass on the body. If ask isn't nil, the upstream is to say
// first whether it wants the body; ask is then called to have the client send it.
func startUpload(body *requestBody, c *upstreamConn, ask func(), cfg *Config, buffers *sync.Pool) *upload {
	u := &upload{done: make(chan struct{}), wanted: make(chan struct{}), unwanted: make(chan struct{}), buffers: buffers}
	go func() {
		defer close(u.done)
		if ask != nil {
			if !u.asked() {
				u.err = errNotWanted
				return
			}
			ask()
		}
		if u.err = u.pass(body, c, cfg); u.err != nil {
			u.broken(body, c, cfg)
			return
		}
		u.complete = true
		c.awaitUntil(time.Now().Add(cfg.ResponseHeaderTimeout))
	}()
	return u
}

// asked waits for the upstream's word on the body.
func (u *upload) asked() bool {
	timeout := time.NewTimer(continueTimeout)
	defer timeout.Stop()
	select {
	case <-u.wanted:
		return true
	case <-timeout.C:
		return true
	case <-u.unwanted:
		return false
	}
}

// broken ends what can't go on. When the client broke off, the upstream must see a
// broken request; when the upstream took no more, it may have answered, and that
// is still to be read.
func (u *upload) broken(body *requestBody, c *upstreamConn, cfg *Config) {
	if body.err == nil && isTimeout(u.err) {
		u.stalled.Store(true)
	}
	if body.err != nil || u.stalled.Load() {
		c.close()
		return
	}
	c.awaitUntil(time.Now().Add(cfg.ResponseHeaderTimeout))
}

// pass copies the body in the pieces in which it comes.
func (u *upload) pass(body *requestBody, c *upstreamConn, cfg *Config) error {
	pooled := u.buffers.Get().(*[]byte)
	defer u.buffers.Put(pooled)
	buffer := *pooled
	piece := buffer[chunkHead : chunkHead+copyBuffer]
	chunked := body.length < 0
	for {
		c.whileAwaiting(func() { _ = body.setDeadline(time.Now().Add(cfg.StallTimeout)) })
		n, readErr := body.Read(piece)
		if n > 0 {
			out := piece[:n]
			if chunked {
				out = asChunk(buffer, n)
			}
			c.whileAwaiting(func() { c.conn.SetWriteDeadline(time.Now().Add(cfg.ResponseHeaderTimeout)) })
			if _, err := c.Write(out); err != nil {
				return fmt.Errorf("pass on the body: %w", err)
			}
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return readErr
		}
	}
	if !chunked {
		return nil
	}
	_, err := c.Write(lastChunk(body.request.Trailer))
	return err
}

// asChunk returns the n bytes after the head of the buffer as a chunk (RFC 9112
// section 7.1).
func asChunk(buffer []byte, n int) []byte {
	var digits [chunkHead]byte
	size := append(strconv.AppendInt(digits[:0], int64(n), 16), '\r', '\n')
	start := chunkHead - len(size)
	copy(buffer[start:], size)
	end := chunkHead + n
	buffer[end], buffer[end+1] = '\r', '\n'
	return buffer[start : end+2]
}

// lastChunk ends a chunked body with its trailer. net/http has seen to its form, not
// to what it means: what belongs in a head stays out (RFC 9110 section 6.5.1).
func lastChunk(trailer http.Header) []byte {
	fields := maps.Clone(trailer)
	removeHopByHop(fields)
	out := []byte("0\r\n")
	for name, values := range fields {
		if name == "Content-Length" || name == "Host" || name == requestIDHeader || claimsOrigin(name) {
			continue
		}
		for _, v := range values {
			out = appendField(out, name, v)
		}
	}
	return append(out, '\r', '\n')
}

// finish ends an upload after its answer was passed on. An upstream that answered
// early has a moment more to read the rest, and then no more.
func (u *upload) finish(body *requestBody, c *upstreamConn) {
	if u.ended(uploadGrace) {
		return
	}
	c.close()
	_ = body.setDeadline(time.Now().Add(lingerIdle))
	<-u.done
}

// linger takes what a client still sends of its body after its answer, or else the
// answer is lost to it with the reset that a closed connection sends for bytes
// that weren't read (RFC 9112 section 9.6). It ends with the body, when nothing
// comes for lingerIdle, or after lingerTotal. The upload has ended before.
func (u *upload) linger(body *requestBody) {
	if errors.Is(u.err, errNotWanted) {
		return
	}
	end := time.Now().Add(lingerTotal)
	buffer := make([]byte, copyBuffer)
	for body.err == nil && !body.ended.Load() {
		until := time.Now().Add(lingerIdle)
		if until.After(end) {
			until = end
		}
		_ = body.setDeadline(until)
		body.at = len(body.kept)
		_, _ = body.Read(buffer) // an end of it shows in what it has seen
	}
}

// ended waits for the upload's end, but no longer than limit.
func (u *upload) ended(limit time.Duration) bool {
	select {
	case <-u.done:
		return true
	default:
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-u.done:
		return true
	case <-timeout.C:
		return false
	}
}
