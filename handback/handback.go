// Package handback lets a service that is stopped in the middle of an upload hand it back
// to Segue's proxy, which sends the whole of it to another instance. The service says
// "replay_uploads: true" in its segue.yaml, serves through a [Handler], and tells that when
// it stops:
//
//	uploads := handback.New(mux, 1<<20)
//	server := &http.Server{Handler: uploads}
//	server.RegisterOnShutdown(uploads.Stop)
//
// The protocol is in docs/guides/uploads.md; a request that didn't come from a proxy which
// speaks it is served as ever.
//
// A request is handed back if, and only if, a Read of its body has returned
// [ErrHandedBack]. That happens after Stop, and not once
//
//   - a Read has returned [io.EOF], or any other error,
//   - the answer has begun,
//   - or more was read than is kept.
//
// So a handler is safe that acts on no request before it has read all of it, or undoes what
// it did when a Read fails, as it has to when a client goes. What it answers after
// ErrHandedBack nobody gets.
package handback

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

const (
	// status and the fields are those of draft-frindell-httpbis-partial-post-replay-00, with
	// the number of Naseer et al., "Zero Downtime Release", SIGCOMM 2020.
	status      = 379
	offerHeader = "Partial-Post-Replay"
	echoHeader  = "Echo-" + offerHeader
	// pieceSize is how much is read at a time, in bytes.
	pieceSize = 32 << 10
)

// ErrHandedBack is what a Read of a body returns that goes back to the proxy.
var ErrHandedBack = errors.New("the upload is handed back, since this instance is being stopped")

// Handler serves requests by another one, and hands back those that are not read whole when
// it is told to stop.
type Handler struct {
	next  http.Handler
	limit int

	mu      sync.Mutex
	stopped bool
	bodies  map[*body]bool
}

// New returns a handler that serves by next. It keeps what was read of each body, at most
// limit bytes; a body of which more was read isn't handed back, unless next keeps it: see
// [Keep].
func New(next http.Handler, limit int) *Handler {
	return &Handler{next: next, limit: limit, bodies: make(map[*body]bool)}
}

// Stop has the bodies handed back that are not read whole, and those of the requests that
// still come. It doesn't wait for that; [http.Server.Shutdown] does.
func (h *Handler) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	for b := range h.bodies {
		b.stop()
	}
}

// ServeHTTP serves a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	offer := r.Header[offerHeader]
	// HTTP/1.1 would read all of the request before any of the answer is written.
	if len(offer) != 1 || r.Body == nil || r.Body == http.NoBody || http.NewResponseController(w).EnableFullDuplex() != nil {
		h.next.ServeHTTP(w, r)
		return
	}
	b := newBody(r.Body, h.limit)
	stopped := h.add(b)
	defer h.remove(b)
	if !stopped {
		own := r.Clone(r.Context())
		own.Body = b
		h.next.ServeHTTP(&writer{w, b}, own)
		if !b.isHandedBack() {
			return
		}
	}
	clear(w.Header())
	w.Header().Set(echoHeader, offer[0])
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	if err := b.giveBack(w); err != nil {
		panic(http.ErrAbortHandler) // so that it isn't taken for all
	}
}

func (h *Handler) add(b *body) (stopped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bodies[b] = true
	return h.stopped
}

func (h *Handler) remove(b *body) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.bodies, b)
}

// Keep says that the handler of a request keeps itself what it reads of the body, in a file,
// say, so that it can be handed back however long it is. again is called by the Read that
// returns ErrHandedBack, and returns a reader of all that Reads have returned by then, from
// the beginning, which is read when the handler has returned, and closed. An error of again
// is returned by that Read, and the request isn't handed back.
//
// Keep does nothing, and returns false, when the request can't be handed back anyway. It is
// to be called before the first Read, with the body as it came.
func Keep(r *http.Request, again func() (io.ReadCloser, error)) bool {
	b, ok := r.Body.(*body)
	if ok {
		b.keepBy(again)
	}
	return ok
}
