package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// answer is an answer on its way to the client, in pieces: what is read next isn't read
// before the last piece is out, so that a slow client slows the upstream.
type answer struct {
	// pre goes out first, of which preSent bytes have, and then what is in piece from
	// from to to.
	pre      []byte
	preSent  int
	piece    []byte
	from, to int

	// got is how many bytes of this attempt have come, seen how many of those in piece
	// were searched for the end of a head.
	got  int64
	seen int
	head h1.Response
	// left is what is to come of a sized body, and pipe what passes that on; nil when
	// the pieces do.
	left   int64
	pipe   *pipe
	chunks h1.Chunked
	// plain follows a body in chunks for a copy's sake.
	plain   h1.Chunked
	trailer []byte
	// done is set when all of the answer is in pre and piece, spoiled when the
	// upstream has sent more than that.
	done, spoiled bool
}

var (
	// errNotAskedFor is an answer with another protocol.
	errNotAskedFor = errors.New("the answer changes to a protocol that wasn't asked for")
	// errHeadTooLarge is a head that nobody can be expected to keep.
	errHeadTooLarge = errors.New("the head of the answer is too large")
)

// rewind makes ready for the answer of another attempt.
func (a *answer) rewind() {
	*a = answer{pre: a.pre, preSent: a.preSent, piece: a.piece, trailer: a.trailer[:0], head: h1.Response{Head: h1.Head{Fields: a.head.Fields[:0]}}}
}

// pending reports whether something is to be written to the client.
func (a *answer) pending() bool { return a.preSent < len(a.pre) || (a.readyPiece() && a.from < a.to) }

// readyPiece reports whether what is in piece may go out: not while it is a part of a
// head.
func (a *answer) readyPiece() bool { return a.head.Status >= http.StatusOK }

// reusable reports whether another request may follow on the upstream's connection.
func (a *answer) reusable() bool { return a.done && !a.spoiled && a.head.Persistent }

// moveAnswer reads what the upstream has sent, and writes it to the client, until one of
// the two can't go on. alive is false when the exchange has ended, more when the upload
// may go on now.
func (x *exchange) moveAnswer() (alive, more bool) {
	a := &x.answer
	for range turnsAtOnce {
		if out, alive := x.flush(); !out {
			return alive, false
		}
		if a.done {
			return x.answerIsOut(), false
		}
		if a.pipe != nil {
			if more, alive := x.splice(); !more {
				return alive, false
			}
			continue
		}
		if x.up == nil || !x.up.readable {
			return true, false
		}
		asking := x.upload.asking
		if !x.readAnswer() {
			return false, false
		}
		if asking && !x.upload.asking {
			// The upstream wants the body, as the client has to hear first.
			_, alive := x.flush()
			return alive, true
		}
	}
	x.loop.again(x.client)
	return true, false
}

// flush writes what is pending. out reports whether all is out.
func (x *exchange) flush() (out, alive bool) {
	a, c := &x.answer, x.client
	for a.pending() {
		if !c.writable {
			return false, true
		}
		var piece []byte
		if a.readyPiece() {
			piece = a.piece[a.from:a.to]
		}
		n, errno := c.write(a.pre[a.preSent:], piece)
		if errno == syscall.EAGAIN {
			return false, true
		}
		if errno != 0 {
			x.gone()
			return false, false
		}
		if x.stage != requesting {
			// What is informational doesn't put off the answer's deadline.
			x.since = x.loop.now
		}
		pre := min(n, len(a.pre)-a.preSent)
		a.preSent += pre
		a.from += n - pre
	}
	a.pre, a.preSent = a.pre[:0], 0
	if a.readyPiece() {
		a.from, a.to = 0, 0
	}
	return true, true
}

// answerIsOut goes on when the client has all of the answer. It returns false when the
// exchange has ended.
func (x *exchange) answerIsOut() bool {
	u := &x.upload
	switch {
	case x.stage == explaining:
		x.leaveClient()
		return false
	case u.ended && u.sent == len(u.out), u.broken, u.asking:
		x.finish()
		return false
	case x.stage == answering:
		x.stage = uploading
		x.graceEnd = x.loop.now.Add(uploadGrace)
	case x.up.broken || x.up.ended:
		x.finish()
		return false
	}
	return true
}

// readAnswer reads the next piece. It returns false when the exchange has ended.
func (x *exchange) readAnswer() bool {
	a := &x.answer
	if a.piece == nil {
		a.piece = x.loop.buffers.get()
	}
	limit := len(a.piece)
	if x.stage == answering {
		limit = pieceSize
		if a.head.Body == h1.Sized {
			// One byte more shows that the upstream says more than it should.
			limit = int(min(int64(limit), a.left+1))
		}
	}
	n, errno := x.up.read(a.piece[a.to:limit])
	switch {
	case errno == syscall.EAGAIN:
		return true
	case errno != 0 || n == 0:
		return x.upstreamEnded(errno)
	}
	a.got += int64(n)
	a.to += n
	if x.stage == answering {
		return x.passBody()
	}
	return x.readHeads()
}

// upstreamEnded takes the end of the upstream's direction.
func (x *exchange) upstreamEnded(errno syscall.Errno) bool {
	a := &x.answer
	if x.stage != answering {
		err := io.EOF
		if errno != 0 {
			err = errno
		}
		x.attemptFailed(broken, err)
		return false
	}
	if a.head.Body != h1.UntilClose || errno != 0 {
		x.breakOff(truncated)
		return false
	}
	if x.request.Minor > 0 {
		a.pre = append(a.pre, "0\r\n\r\n"...)
	}
	a.done = true
	return true
}

// readHeads reads heads until one isn't informational. It returns false when the
// exchange has ended.
func (x *exchange) readHeads() bool {
	a := &x.answer
	for {
		length, err := h1.EndOfHead(a.piece[a.from:a.to], a.seen)
		if err == nil && length > x.loop.p.cfg.maxAnswerHead() {
			err = errHeadTooLarge
		}
		if err == nil && length == 0 {
			a.seen = a.to - a.from
			err = x.roomForHead()
			if err == nil {
				return true
			}
		}
		if err == nil {
			err = a.head.Parse(a.piece[a.from:a.from+length], string(x.request.Method) == http.MethodHead)
		}
		if err != nil {
			x.attemptFailed(broken, err)
			return false
		}
		a.from += length
		a.seen = 0
		switch status := a.head.Status; {
		case status == http.StatusSwitchingProtocols:
			if x.protocol == nil || !strings.EqualFold(h1.String(a.head.Protocol), h1.String(x.protocol)) {
				x.attemptFailed(broken, errNotAskedFor)
				return false
			}
			x.switchProtocols()
			return false
		case status == http.StatusContinue:
			if x.upload.asking {
				x.askForBody()
			}
		case status < http.StatusOK:
			if x.request.Minor > 0 {
				a.pre = appendInformation(a.pre, &a.head)
			}
		case x.handedBack():
			x.takeBack()
			return false
		default:
			x.beginAnswer()
			return x.passBody()
		}
		if a.from == a.to {
			a.from, a.to = 0, 0
			return true
		}
	}
}

// roomForHead makes room for the rest of a head.
func (x *exchange) roomForHead() error {
	a := &x.answer
	if a.to-a.from >= x.loop.p.cfg.maxAnswerHead() {
		return errHeadTooLarge
	}
	if a.to < len(a.piece) {
		return nil
	}
	if a.from == 0 {
		a.piece = append(a.piece, make([]byte, len(a.piece))...)
		return nil
	}
	copy(a.piece, a.piece[a.from:a.to])
	a.from, a.to = 0, a.to-a.from
	return nil
}

// beginAnswer writes the head for the client.
func (x *exchange) beginAnswer() {
	a := &x.answer
	x.stage = answering
	x.status = a.head.Status
	x.up.idleLimit = idleLimit(&a.head)
	x.flight.answered(x.status, &a.head.Head)
	x.closes = x.mustClose() || (x.request.Minor == 0 && (a.head.Body == h1.InChunks || a.head.Body == h1.UntilClose))
	a.pre = x.appendAnswerHead(a.pre)
	switch a.head.Body {
	case h1.NoBody:
		a.done = true
	case h1.InChunks, h1.UntilClose:
		kind, _ := a.head.Get(h1.ContentType)
		x.flight.shape = shapeOf(h1.String(kind))
	case h1.Sized:
		a.left = a.head.Length
		if a.left >= spliceMin && x.copied == nil {
			a.pipe = x.loop.pipes.get()
		}
	}
}

// passBody takes what is in the piece as a part of the body. It returns false when the
// exchange has ended.
func (x *exchange) passBody() bool {
	a := &x.answer
	switch a.head.Body {
	case h1.NoBody:
		a.spoiled = a.from < a.to
		a.to = a.from
	case h1.Sized:
		x.passSized()
	case h1.InChunks:
		return x.passChunks()
	case h1.UntilClose:
		x.passUntilClose()
	}
	return true
}

func (x *exchange) passSized() {
	a := &x.answer
	n := a.to - a.from
	if int64(n) > a.left {
		a.spoiled = true
		n = int(a.left)
		a.to = a.from + n
	}
	x.copied.passed(a.piece[a.from:a.to])
	x.sent += int64(n)
	a.left -= int64(n)
	a.done = a.left == 0
}

func (x *exchange) passUntilClose() {
	a := &x.answer
	n := a.to - a.from
	if n == 0 {
		return
	}
	x.copied.passed(a.piece[a.from:a.to])
	x.sent += int64(n)
	if x.request.Minor > 0 {
		// A chunk (RFC 9112 section 7.1).
		a.pre = strconv.AppendInt(a.pre, int64(n), 16)
		a.pre = append(a.pre, '\r', '\n')
		a.piece = append(a.piece[:a.to], '\r', '\n')
		a.to += 2
		a.piece = a.piece[:cap(a.piece)]
	}
}

// passChunks passes chunks on as they came, but for their extensions. A client of
// HTTP/1.0 gets the data alone.
func (x *exchange) passChunks() bool {
	a := &x.answer
	piece := a.piece[a.from:a.to]
	framed := x.request.Minor > 0
	var err error
	if !a.chunks.Done() {
		x.copied.passedChunks(piece, &a.plain)
		var kept, used int
		kept, used, err = a.chunks.Filter(piece, framed)
		x.sent = a.chunks.Data()
		a.to = a.from + kept
		piece = piece[used:]
	} else {
		a.to = a.from
	}
	if err == nil && a.chunks.Done() {
		err = x.passTrailer(piece)
	}
	if err != nil {
		x.breakOff(truncated)
		return false
	}
	return true
}

// passTrailer takes a part of the trailer section.
func (x *exchange) passTrailer(piece []byte) error {
	a := &x.answer
	seen, limit := len(a.trailer), x.loop.p.cfg.maxAnswerHead()
	a.trailer = append(a.trailer, piece...)
	length, err := h1.EndOfHead(a.trailer, seen)
	switch {
	case err != nil:
		return err
	case length > limit, length == 0 && len(a.trailer) > limit:
		return errors.New("the trailer is too large")
	case length == 0:
		return nil
	}
	a.spoiled = length < len(a.trailer)
	var trailer h1.Head
	if err := trailer.ParseTrailer(a.trailer[:length]); err != nil {
		return err
	}
	if x.request.Minor > 0 {
		a.piece = appendTrailer(a.piece[:a.to], &trailer)
		a.to = len(a.piece)
		a.piece = a.piece[:cap(a.piece)]
	}
	a.done = true
	return nil
}
