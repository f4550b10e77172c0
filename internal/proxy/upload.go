package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"syscall"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// upload is a request on its way to an upstream. Its first part is kept as it was
// written, so that it can be written again to another.
type upload struct {
	// out is what is to be written from sent on. As long as kept is set it has
	// everything that has come, from the beginning, with head bytes of a head.
	out        []byte
	sent, head int
	kept       bool
	// buffer is the memory of out when there is a body.
	buffer []byte

	// framing is that of the body, left what is to come of a sized one.
	framing h1.Framing
	left    int64
	chunks  h1.Chunked
	// ended is set when all of the body was read from the client.
	ended bool
	// asking is set while the upstream is to say whether it wants the body.
	asking bool

	// offered is set when the upstream was told that it may hand the request back, of which
	// taken bytes of the body have come, without their framing. reframed is set when chunks
	// are ours: those that are handed back need not end where those of the client do.
	offered, reframed bool
	taken             int64
	// whole is set when the trailer section has come from the client, which is in trailer
	// then, if the request is offered.
	whole   bool
	trailer []byte

	// wrote is how much of this attempt was written; broken is set when the upstream
	// takes no more.
	wrote  int64
	broken bool
}

// begin makes ready for a request.
func (u *upload) begin(r *h1.Request) {
	*u = upload{framing: r.Body, left: r.Length, ended: r.Body == h1.NoBody, asking: r.ExpectContinue}
}

func (u *upload) prepared() bool { return u.head > 0 }

// rewind makes ready for another attempt.
func (u *upload) rewind() { u.sent, u.wrote, u.broken = 0, 0, false }

// complete reports whether the upstream has all of the request.
func (u *upload) complete() bool { return u.ended && !u.broken && u.sent == len(u.out) }

// keptBody is how many bytes of the body are kept.
func (u *upload) keptBody() int { return len(u.out) - u.head }

// prepare writes the head, as the upstream gets it.
func (x *exchange) prepare() {
	u, c := &x.upload, x.client
	u.offered = x.offers()
	u.reframed = u.framing == h1.InChunks && (u.offered || x.replays > 0)
	u.taken = 0
	x.head = x.appendRequestHead(x.head[:0])
	u.head = len(x.head)
	u.kept = true
	switch {
	case u.framing == h1.NoBody:
		u.out = x.head
	case u.framing == h1.Sized && !u.asking && x.back == nil && len(c.in) == bufferSize && c.start >= u.head && int64(c.unread()) <= u.left:
		// What has come of the body stays where it is, and the head takes the place of
		// that with which it came.
		u.buffer = c.in
		u.out = c.in[c.start-copy(c.in[c.start-u.head:], x.head) : c.end]
		u.taken = int64(c.unread())
		u.left -= u.taken
		u.ended = u.left == 0
		c.in, c.start, c.end, c.seen = nil, 0, 0, 0
	default:
		u.buffer = x.loop.buffers.get()
		u.out = append(u.buffer[:0], x.head...)
	}
}

// moveUpload takes what the client has sent, and writes it to the upstream, until one of
// the two can't go on. It returns false when the exchange has ended.
func (x *exchange) moveUpload() bool {
	u := &x.upload
	if x.up == nil {
		return true
	}
	for range turnsAtOnce {
		if !u.ended && !u.asking && !u.broken && !x.fillUpload() {
			return false
		}
		if u.sent == len(u.out) || u.broken || !x.up.writable {
			return true
		}
		n, errno := x.up.write(u.out[u.sent:], nil)
		if errno == syscall.EAGAIN {
			return true
		}
		x.since = x.loop.now
		if errno != 0 {
			// It may have answered all the same, which is still to be read.
			u.broken = true
			if errno != syscall.EPIPE {
				// It is a reset that no end came before, and the next read says only that
				// this is the end.
				x.up.acked = -1
			}
			return true
		}
		u.sent += n
		u.wrote += int64(n)
		x.up.written += int64(n)
		if u.sent < len(u.out) || (u.ended && x.stage != uploading) {
			return true
		}
		if u.ended {
			x.finish()
			return false
		}
	}
	x.loop.again(x.client)
	return true
}

// fillUpload takes from the client as much of the body as there is, and as there is
// room for. It returns false when the exchange has ended.
func (x *exchange) fillUpload() bool {
	u := &x.upload
	for !u.ended {
		if u.sent == len(u.out) && (!u.kept || u.keptBody() > x.loop.p.cfg.ReplayLimit || u.room() == 0) {
			u.kept = false
			u.out, u.sent = u.buffer[:0], 0
		}
		if u.room() == 0 {
			return true
		}
		got, err := x.takeBody()
		switch {
		case errors.Is(err, errClientEnded):
			x.gone()
			return false
		case errors.Is(err, errHandback):
			x.failBack(err)
			return false
		case err != nil:
			x.malformedBody(err)
			return false
		case !got:
			return true
		}
		x.since = x.loop.now
	}
	return true
}

// replayable reports whether the request can be written again from its beginning: what
// was written of it is here still, and no more than is to be kept.
func (u *upload) replayable(limit int) bool {
	return u.kept && (u.wrote == 0 || u.keptBody() <= max(limit, 0))
}

// skipBody takes what is here of a body that nobody wants: when that is all of it, the
// connection is good for another request.
func (x *exchange) skipBody() {
	u := &x.upload
	if u.asking || u.ended {
		return
	}
	if u.buffer == nil {
		u.buffer = x.loop.buffers.get()
	}
	for range turnsAtOnce {
		u.out, u.sent = u.buffer[:0], 0
		if got, err := x.takeBody(); !got || err != nil || u.ended {
			return
		}
	}
}

// takeBody takes bytes of the body. It reports whether there were any.
func (x *exchange) takeBody() (got bool, err error) {
	switch {
	case x.back != nil:
		return x.takeReplayed()
	case x.upload.framing == h1.Sized:
		return x.takeSized()
	}
	return x.takeChunks()
}

// errClientEnded is the end of a client in the middle of its body.
var errClientEnded = errors.New("the client has ended its body too early")

// takeSized takes bytes of a body whose length is known.
func (x *exchange) takeSized() (got bool, err error) {
	u, c := &x.upload, x.client
	room := u.out[len(u.out):cap(u.out)]
	var n int
	switch {
	case c.unread() > 0:
		n = copy(room[:min(u.left, int64(len(room)))], c.in[c.start:c.end])
		c.use(n)
	case !c.readable:
		return false, nil
	default:
		var errno syscall.Errno
		if n, errno = c.read(room); errno == syscall.EAGAIN {
			return false, nil
		}
		if errno != 0 || n == 0 {
			return false, errClientEnded
		}
		if int64(n) > u.left {
			// It is more than the body: the client doesn't wait for the answer.
			c.putBack(room[u.left:n])
			n = int(u.left)
		}
	}
	u.out = u.out[:len(u.out)+n]
	u.taken += int64(n)
	u.left -= int64(n)
	u.ended = u.left == 0
	return true, nil
}

// takeChunks takes bytes of a body in chunks.
func (x *exchange) takeChunks() (got bool, err error) {
	u, c := &x.upload, x.client
	if u.chunks.Done() {
		return x.takeTrailer()
	}
	if c.unread() == 0 {
		if got, err := x.readMore(); !got {
			return false, err
		}
	}
	piece := c.in[c.start:c.end]
	piece = piece[:min(len(piece), u.room())]
	kept, used, err := u.chunks.Filter(piece, !u.reframed)
	switch {
	case u.reframed:
		u.put(piece[:kept])
	case u.chunks.Done() && err == nil:
		// The end of the last chunk's line waits for the trailer: if that is bad, the upstream
		// must not have got a request that some would take for whole.
		u.out = append(u.out, piece[:kept-1]...)
	default:
		u.out = append(u.out, piece[:kept]...)
	}
	c.use(used)
	return true, err
}

// takeTrailer takes the trailer section, when it is here as a whole.
func (x *exchange) takeTrailer() (got bool, err error) {
	u, c := &x.upload, x.client
	limit := x.loop.p.cfg.MaxHeaderBytes
	for {
		length, err := h1.EndOfHead(c.in[c.start:c.end], c.seen)
		if err != nil {
			return false, err
		}
		if c.seen = c.unread(); length > limit || (length == 0 && c.seen >= limit) {
			return false, &h1.Error{Status: http.StatusBadRequest, Reason: "the trailer is too large"}
		}
		if length > 0 {
			var trailer h1.Head
			if err := trailer.ParseTrailer(c.in[c.start : c.start+length]); err != nil {
				return false, err
			}
			if u.putLast(); !u.reframed {
				u.out = append(u.out, '\n') // which was held back
			}
			before := len(u.out)
			u.out = appendTrailer(u.out, &trailer)
			if u.offered {
				u.trailer = bytes.Clone(u.out[before:])
			}
			c.use(length)
			u.whole, u.ended = true, true
			return true, nil
		}
		if got, err := x.readMore(); !got {
			return false, err
		}
	}
}

// readMore reads from the client.
func (x *exchange) readMore() (got bool, err error) {
	c := x.client
	if !c.readable {
		return false, nil
	}
	c.fill()
	n, errno := c.read(c.in[c.end:])
	switch {
	case errno == syscall.EAGAIN:
		c.giveBack()
		return false, nil
	case errno != 0 || n == 0:
		return false, errClientEnded
	}
	c.end += n
	return true, nil
}

// malformedBody ends a request whose body isn't framed as it has to be. The upstream
// sees a request that breaks off.
func (x *exchange) malformedBody(err error) {
	if x.stage != requesting || x.answer.pending() {
		x.gone()
		return
	}
	x.dropUpstream()
	x.end(clientGone)
	x.closes = true
	x.say(http.StatusBadRequest, err.Error())
}

// askForBody has the client send the body that it announced with "Expect:
// 100-continue".
func (x *exchange) askForBody() {
	x.upload.asking = false
	x.since = x.loop.now
	if x.stage == requesting {
		x.answer.pre = append(x.answer.pre, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
}
