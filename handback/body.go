package handback

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// body is a request's body that may be handed back. Another goroutine reads it, a piece at
// a time, and only when a Read waits for one: a Read can end without it.
type body struct {
	source io.Reader
	limit  int

	mu sync.Mutex
	// news is told of every change of what follows.
	news  *sync.Cond
	state state
	// stopping is set when it is to be handed back.
	stopping bool
	// reading is set while a piece is read. piece has what no Read has returned, err what
	// follows it.
	reading bool
	buffer  []byte
	piece   []byte
	err     error
	// kept has what Reads have returned, unless again is set; they are so many bytes.
	kept     []byte
	returned int64
	again    func() (io.ReadCloser, error)
	// copy is that of again.
	copy io.ReadCloser
}

type state int

const (
	// open: it is being read, and may be handed back.
	open state = iota
	// stays: it may not.
	stays
	// handedBack: a Read has said so.
	handedBack
)

func newBody(source io.Reader, limit int) *body {
	b := &body{source: source, limit: limit}
	b.news = sync.NewCond(&b.mu)
	return b
}

func (b *body) keepBy(again func() (io.ReadCloser, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = again
}

func (b *body) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopping = true
	b.news.Broadcast()
}

// begin notes that the answer begins, and reports whether anybody gets it.
func (b *body) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == open {
		b.stays()
	}
	return b.state != handedBack
}

func (b *body) isHandedBack() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == handedBack
}

func (b *body) stays() { b.state, b.kept = stays, nil }

// Read reads what has come, or says that it isn't this instance's any more.
func (b *body) Read(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.state == handedBack:
			return 0, ErrHandedBack
		case b.stopping && b.state == open:
			return 0, b.handBack()
		case len(b.piece) > 0:
			n = copy(p, b.piece)
			b.piece = b.piece[n:]
			b.keep(p[:n])
			return n, nil
		case b.err != nil:
			if b.state == open {
				b.stays()
			}
			return 0, b.err
		case !b.reading:
			b.reading = true
			go b.fill()
		}
		b.news.Wait()
	}
}

// handBack is the last moment at which the handler is asked for anything.
func (b *body) handBack() error {
	if b.again != nil {
		copied, err := b.again()
		if err != nil {
			b.stays()
			return err
		}
		b.copy = copied
	}
	b.state = handedBack
	return ErrHandedBack
}

// keep takes what a Read returns.
func (b *body) keep(p []byte) {
	b.returned += int64(len(p))
	switch {
	case b.state != open || b.again != nil:
	case len(b.kept)+len(p) > b.limit:
		b.stays()
	default:
		b.kept = append(b.kept, p...)
	}
}

func (b *body) fill() {
	if b.buffer == nil {
		b.buffer = make([]byte, pieceSize)
	}
	n, err := b.source.Read(b.buffer)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.piece, b.err, b.reading = b.buffer[:n], err, false
	b.news.Broadcast()
}

// Close does nothing: the server closes what it has opened, and only when it was given back.
func (b *body) Close() error { return nil }

// giveBack writes all of the body that has come, and what still comes, until the proxy says
// that it has all.
func (b *body) giveBack(w http.ResponseWriter) error {
	var before io.Reader = bytes.NewReader(b.kept)
	if b.copy != nil {
		defer b.copy.Close()
		before = b.copy
	}
	if _, err := io.CopyN(w, before, b.returned); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	for {
		piece, err := b.take()
		if _, err := w.Write(piece); err != nil {
			return err
		}
		if err := control.Flush(); err != nil {
			return err
		}
		if err != nil {
			// Be it the end of the body or of the connection: the proxy has counted.
			return nil
		}
	}
}

// take returns the next piece that no Read has returned.
func (b *body) take() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.reading {
		b.news.Wait()
	}
	if len(b.piece) == 0 && b.err == nil {
		b.mu.Unlock()
		b.fill()
		b.mu.Lock()
	}
	piece := b.piece
	b.piece = nil
	return piece, b.err
}
