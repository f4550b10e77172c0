package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"syscall"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// An instance that is being stopped in the middle of an upload may hand it back: it
// answers 379, and its answer's body is what it gets of the request's. The upload is
// replayed to another instance: first what comes back, then what the client still sends.
// From the head of such an answer on nothing is read from the client for the one before,
// which gets only what is here already; so it is known to the byte how much has to come
// back. Nothing is read from it, or again from the client, before there is room for it,
// so that an upload takes no more than two buffers more for each instance that hands it
// back, whatever its size.
//
// It is "HTTP Partial POST Replay", draft-frindell-httpbis-partial-post-replay-00; see
// docs/guides/uploads.md for what of it there is, and docs/adr/0028 for why.

const (
	// statusHandedBack is not in the draft, but in Naseer et al., "Zero Downtime Release",
	// SIGCOMM 2020.
	statusHandedBack = 379
	// replayHeader tells an instance that it may hand the upload back, and how often that
	// has happened. One that does so echoes it, as the draft has it, or else its 379 is a
	// status like any other.
	replayHeader     = "Partial-Post-Replay"
	replayEchoHeader = "Echo-" + replayHeader
	// maxReplays is how often a request may be handed back. After that no instance is told
	// that it may.
	maxReplays = 10
	// chunkRoom is what the framing of a chunk takes, if its size has no more than 12
	// digits.
	chunkRoom = 16
)

// handback is an upload on its way back from an instance.
type handback struct {
	// up is the connection to it; nil is none any more.
	up *upstreamConn
	// out has what is still to be written to it, which is in buffer.
	out, buffer []byte
	// owed is how much of the body has still to come back.
	owed int64
	// framing is that of the answer, left what is to come of a sized one. over is set when
	// all of the answer has come.
	framing h1.Framing
	left    int64
	chunks  h1.Chunked
	over    bool
	// piece has what has come and was not passed on, from from to to.
	piece    []byte
	from, to int
	// next is the one before, which had not ended when this one began.
	next *handback
}

// errHandback is a part of a request that has not come back as it was.
var errHandback = errors.New("an instance has not handed an upload back whole")

// offers reports whether the upstream may hand the request back.
func (x *exchange) offers() bool {
	return x.flight.pool.handsBack && x.upload.framing != h1.NoBody && x.replays < maxReplays && string(x.request.Method) != http.MethodHead
}

// appendOffer tells the upstream that it may.
func (x *exchange) appendOffer(dst []byte) []byte {
	if !x.upload.offered {
		return dst
	}
	dst = append(dst, replayHeader+": "...)
	dst = strconv.AppendInt(dst, int64(x.replays), 10)
	return append(dst, '\r', '\n')
}

// handedBack reports whether the answer whose head has come is no answer but the
// request.
func (x *exchange) handedBack() bool {
	h := &x.answer.head
	if h.Status != statusHandedBack || !x.upload.offered {
		return false
	}
	echo := slices.Collect(h.Values(replayEchoHeader))
	return len(echo) == 1 && echo[0] == strconv.Itoa(x.replays)
}

// mayHandBack reports whether the upstream may hand the request back when it is stopped,
// as it may until it has all of it.
func (x *exchange) mayHandBack() bool {
	return x.stage == requesting && x.upload.offered && !x.upload.complete()
}

// takeBack has the request go to another instance.
func (x *exchange) takeBack() {
	u, a := &x.upload, &x.answer
	b := &handback{
		up: x.up, out: u.out[u.sent:], buffer: u.buffer, owed: u.taken, framing: a.head.Body, left: a.head.Length,
		piece: a.piece, from: a.from, to: a.to, next: x.back,
	}
	if u.reframed && !u.ended {
		// The instance may keep what it has of a body until a chunk or all of it has come.
		b.out = append(b.out, "0\r\n\r\n"...)
	}
	x.up, x.back = nil, b
	a.piece, a.from, a.to = nil, 0, 0
	x.replays++
	// The head is written anew: whether the next one may hand the request back is its own
	// matter.
	u.out, u.buffer, u.head, u.ended = nil, nil, 0, false
	if b.owed == 0 {
		b.drop(x.loop)
	} else if err := b.unframe(); err != nil {
		x.logLost(err)
		x.fail(broken)
		return
	}
	x.failure = unavailable
	x.flight.kept = b.to - b.from + len(b.out)
	x.resume(x.flight.handBack())
}

// handBack finds the request another upstream than the one that hands it back, at which
// nothing has failed.
func (f *flight) handBack() verdict {
	f.judged = true
	f.account.stats.Replayed++
	clear(f.left)
	f.left, f.tries = f.left[:0], 0
	// Twice, so that it isn't taken again as the only one that its release has.
	f.tried = append(f.tried[:0], f.pool, f.pool)
	return f.again(false)
}

// came reports whether all of the body has come from the client.
func (u *upload) came() bool {
	switch u.framing {
	case h1.Sized:
		return u.left == 0
	case h1.InChunks:
		return u.whole
	}
	return true
}

// room is how much of a body out has room for.
func (u *upload) room() int {
	room := cap(u.out) - len(u.out)
	if u.reframed {
		room -= chunkRoom
	}
	return max(room, 0)
}

// put takes as much of a body, without its framing, as there is room for. It returns the
// rest.
func (u *upload) put(data []byte) (rest []byte) {
	n := min(len(data), u.room())
	u.taken += int64(n)
	if u.reframed && n > 0 {
		u.out = strconv.AppendInt(u.out, int64(n), 16)
		u.out = append(u.out, '\r', '\n')
	}
	u.out = append(u.out, data[:n]...)
	if u.reframed && n > 0 {
		u.out = append(u.out, '\r', '\n')
	}
	return data[n:]
}

// putLast ends a body in chunks that are ours.
func (u *upload) putLast() {
	if u.reframed {
		u.out = append(u.out, "0\r\n"...)
	}
}

// takeReplayed takes bytes of the body from the instance that hands it back. It reports
// whether it got anywhere.
func (x *exchange) takeReplayed() (got bool, err error) {
	b, u := x.back, &x.upload
	if b.up != nil {
		return x.takeFrom(b)
	}
	x.back = b.next
	if x.back == nil && u.came() {
		u.putLast()
		u.out = append(u.out, u.trailer...)
		u.ended = true
	}
	return true, nil
}

// takeFrom takes what an instance hands back.
func (x *exchange) takeFrom(b *handback) (got bool, err error) {
	b.write()
	switch {
	case b.from < b.to:
		rest := x.upload.put(b.piece[b.from:b.to])
		b.from = b.to - len(rest)
		return true, nil
	case b.over:
		b.drop(x.loop)
		return true, nil
	case !b.up.readable:
		return false, nil
	}
	n, errno := b.up.read(b.piece)
	if errno != 0 {
		n = 0
	}
	b.from, b.to = 0, n
	switch {
	case n > 0:
		return true, b.unframe()
	case errno == syscall.EAGAIN:
		return false, nil
	case b.owed > 0:
		return false, fmt.Errorf("%w: it broke off with %d bytes to come", errHandback, b.owed)
	}
	// It has given all that it had to give, whatever it makes of the end of the request.
	b.over = true
	return true, nil
}

// write gives the instance what is here of the request. One that takes no more can't give
// it back either.
func (b *handback) write() {
	if len(b.out) == 0 || !b.up.writable {
		return
	}
	n, errno := b.up.write(b.out, nil)
	switch errno {
	case 0:
		b.out = b.out[n:]
	case syscall.EAGAIN:
	default:
		b.out = nil
	}
}

// unframe takes the framing from the piece. When all has come back, it ends the request
// for the instance, which ends its answer then.
func (b *handback) unframe() error {
	n := int64(b.to - b.from)
	switch b.framing {
	case h1.InChunks:
		kept, _, err := b.chunks.Filter(b.piece[b.from:b.to], false)
		if err != nil {
			return fmt.Errorf("%w: %w", errHandback, err)
		}
		b.to = b.from + kept
		n = int64(kept)
		b.over = b.chunks.Done()
	case h1.Sized:
		b.left -= n
		b.over = b.left <= 0
	case h1.NoBody:
		b.over = true
	}
	if n > b.owed || (b.over && n < b.owed) || (b.framing == h1.Sized && b.left != b.owed-n) {
		return fmt.Errorf("%w: it was to give back %d bytes more, and gives others", errHandback, b.owed)
	}
	if b.owed -= n; b.owed == 0 && n > 0 {
		shutdownWriteFD(b.up.fd)
	}
	return nil
}

// drop has done with the instance.
func (b *handback) drop(l *loop) {
	if b.up != nil {
		b.up.close()
		b.up = nil
	}
	l.buffers.put(b.piece)
	l.buffers.put(b.buffer)
	b.piece, b.buffer, b.from, b.to = nil, nil, 0, 0
}

// awaitsBack reports whether nothing goes on before more has come back.
func (x *exchange) awaitsBack() bool {
	u := &x.upload
	return x.back != nil && x.back.up != nil && (x.stage == requesting || x.stage == answering) &&
		u.sent == len(u.out) && !u.asking && !u.broken && !x.answer.pending()
}

// failBack ends a request that hasn't come back whole. The instance that gets it now sees
// one that breaks off, and is not at fault.
func (x *exchange) failBack(err error) {
	x.logLost(err)
	x.flight.judged = true
	x.dropUpstream()
	if x.stage == answering {
		x.breakOff(truncated)
		return
	}
	x.fail(broken)
}

func (x *exchange) logLost(err error) {
	x.loop.p.cfg.Logger.Warn("an upload is lost", "request", string(x.id), "service", x.flight.service.name, "error", err)
}

// dropBack forgets what was to come back.
func (x *exchange) dropBack() {
	if x.back == nil {
		return
	}
	for b := x.back; b != nil; b = b.next {
		b.drop(x.loop)
	}
	x.back = nil
	x.upload.ended = x.upload.came()
}
