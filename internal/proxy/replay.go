package proxy

import (
	"errors"
	"io"
	"sync"
)

// replay is a body that several attempts can read from its beginning, as long as no more
// than a limit was read of it. Attempts may overlap: what was given up may be reading
// still.
type replay struct {
	limit int

	// reading is held while the body is read, which may take as long as the client does.
	reading sync.Mutex
	body    io.Reader

	mu   sync.Mutex
	kept []byte
	// gone is set when some of the body was read and not kept.
	gone bool
	err  error
	// last is the reader that may read what isn't kept.
	last *replayReader
}

// errGone is the end of a body that another attempt reads, or has read.
var errGone = errors.New("the body can't be read again")

func (b *replay) begin(body io.Reader, limit int) { b.body, b.limit = body, max(limit, 0) }

// reader returns a reader from the beginning. Those before it read no more.
func (b *replay) reader() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = &replayReader{body: b}
	return b.last
}

// again reports whether the whole body can be read once more.
func (b *replay) again() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.gone
}

// size is how many bytes are kept.
func (b *replay) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.kept)
}

type replayReader struct {
	body *replay
	at   int
}

func (r *replayReader) Read(p []byte) (n int, err error) {
	b := r.body
	if n, err, done := r.readKept(p); done {
		return n, err
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	// One that was given up may have read meanwhile.
	if n, err, done := r.readKept(p); done {
		return n, err
	}
	n, err = b.body.Read(p)
	return b.keep(r, p[:n], err)
}

// readKept reads what another attempt has read. It isn't done when there is no more.
func (r *replayReader) readKept(p []byte) (n int, err error, done bool) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.last != r:
		return 0, errGone, true
	case r.at < len(b.kept):
		n = copy(p, b.kept[r.at:])
		r.at += n
		return n, nil, true
	case b.err != nil:
		return 0, b.err, true
	}
	return 0, nil, false
}

// keep takes what a reader has read. Only the last reader goes over the limit; what one
// reads that was given up is for it.
func (b *replay) keep(r *replayReader, piece []byte, err error) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	switch {
	case b.gone:
	case b.last == r && len(b.kept)+len(piece) > b.limit:
		b.gone, b.kept = true, nil
	default:
		b.kept = append(b.kept, piece...)
	}
	if b.last != r {
		return 0, errGone
	}
	r.at += len(piece)
	return len(piece), err
}

// Close has nothing to close: the body is the server's.
func (r *replayReader) Close() error { return nil }
