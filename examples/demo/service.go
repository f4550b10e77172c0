package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// service answers the requests of one instance.
type service struct {
	config
	born time.Time
	// stopping ends when the instance is asked to stop.
	stopping context.Context
	// requests counts those that were no probes; seen notes them, if it isn't nil.
	requests atomic.Int64
	seen     *seenFile
	// ids counts how often each request came.
	ids *idCounter
	// crashed is closed by the request at which the instance crashes.
	crashed chan struct{}
	// sockets are the WebSockets, which [http.Server.Shutdown] doesn't wait for.
	sockets sync.WaitGroup
}

// answer is the body of a JSON answer.
type answer struct {
	Release  string `json:"release"`
	Instance string `json:"instance"`
	Version  string `json:"version,omitempty"`
	LoadID   string `json:"load_id,omitempty"`
	// Length and SHA256 are of the request's body.
	Length *int64 `json:"length,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Request is how the request itself arrived.
	Request *arrival `json:"request,omitempty"`
	Message string   `json:"message,omitempty"`
}

func newService(stopping context.Context, c config) *service {
	return &service{config: c, born: time.Now(), stopping: stopping, ids: newIDCounter(), crashed: make(chan struct{})}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.root)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /smoke", s.smoke)
	mux.HandleFunc("GET /slow", s.slow)
	mux.HandleFunc("POST /{$}", s.echo)
	mux.HandleFunc("POST /echo", s.echo)
	mux.HandleFunc("POST /upload", s.upload)
	mux.HandleFunc("GET /bytes", s.bytes)
	mux.HandleFunc("GET /status/{code}", s.status)
	mux.HandleFunc("GET /request", s.request)
	mux.HandleFunc("GET /ws", s.websocket)
	mux.HandleFunc("GET /events", s.events)
	return s.marked(s.counted(mux))
}

// marked puts the sender on every answer, those of the mux included, or, for
// hang, lets there be none.
func (s *service) marked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.behaviour.kind == hang {
			select {
			case <-r.Context().Done():
			case <-s.stopping.Done():
			}
			panic(http.ErrAbortHandler) // or net/http would answer 200
		}
		w.Header().Set("X-Release", s.release)
		w.Header().Set("X-Instance", s.instance)
		if id := r.Header.Get("X-Load-Id"); id != "" {
			w.Header().Set("X-Load-Id", id)
			if r.Header.Get("Segue-Mirror") == "" { // of a copy nobody gets the answer
				w.Header().Set("X-Load-Seen", strconv.Itoa(s.ids.count(id)))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// counted notes what arrives, probes aside, and crashes when that is what the
// instance does at this request.
func (s *service) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.URL.Path != "/smoke" {
			n := s.requests.Add(1)
			if err := s.seen.note(s.arrival(r)); err != nil {
				s.answer(w, r, http.StatusInternalServerError, answer{Message: err.Error()})
				return
			}
			if s.behaviour.kind == crashAt && n >= s.behaviour.requests {
				if n == s.behaviour.requests {
					close(s.crashed)
				}
				panic(http.ErrAbortHandler) // or net/http would answer 200
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *service) root(w http.ResponseWriter, r *http.Request) {
	s.dawdle(r)
	if s.fails() {
		s.answer(w, r, http.StatusInternalServerError, answer{Message: "failing, as DEMO_BEHAVIOUR asks"})
		return
	}
	s.answer(w, r, http.StatusOK, answer{})
}

func (s *service) healthz(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.behaviour.kind == unhealthy:
		s.answer(w, r, http.StatusInternalServerError, answer{Message: "unhealthy, as DEMO_BEHAVIOUR asks"})
	case s.behaviour.kind == slowStart && time.Since(s.born) < s.behaviour.after:
		s.answer(w, r, http.StatusServiceUnavailable, answer{Message: "still starting"})
	default:
		s.answer(w, r, http.StatusOK, answer{Message: "healthy"})
	}
}

func (s *service) smoke(w http.ResponseWriter, r *http.Request) {
	if s.behaviour.kind == smokeFails {
		s.answer(w, r, http.StatusInternalServerError, answer{Message: "smoke test failed"})
		return
	}
	s.answer(w, r, http.StatusOK, answer{Message: "smoke test passed"})
}

func (s *service) echo(w http.ResponseWriter, r *http.Request) {
	s.digest(w, r, r.Body)
}

// upload is echo at a walking pace, so that a body takes as long as the tester
// wants.
func (s *service) upload(w http.ResponseWriter, r *http.Request) {
	rate := 64 << 10
	if q := r.URL.Query().Get("rate"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 10 || n > 1<<30 {
			s.answer(w, r, http.StatusBadRequest, answer{Message: fmt.Sprintf("rate=%q: not a number of bytes per second from 10 to 2^30", q)})
			return
		}
		rate = n
	}
	s.digest(w, r, &pacedReader{ctx: r.Context(), r: r.Body, piece: rate / 10, every: 100 * time.Millisecond})
}

func (s *service) digest(w http.ResponseWriter, r *http.Request, body io.Reader) {
	h := sha256.New()
	n, err := io.Copy(h, body)
	if err != nil {
		s.answer(w, r, http.StatusBadRequest, answer{Length: &n, Message: "the body broke off"})
		return
	}
	s.dawdle(r)
	if s.fails() {
		s.answer(w, r, http.StatusInternalServerError, answer{Length: &n, Message: "failing, as DEMO_BEHAVIOUR asks"})
		return
	}
	s.answer(w, r, http.StatusOK, answer{Length: &n, SHA256: hex.EncodeToString(h.Sum(nil))})
}

func (s *service) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		s.answer(w, r, http.StatusBadRequest, answer{Message: "not a status from 200 to 599"})
		return
	}
	if code == http.StatusNoContent || code == http.StatusNotModified {
		w.WriteHeader(code)
		return
	}
	s.answer(w, r, code, answer{Message: http.StatusText(code)})
}

func (s *service) request(w http.ResponseWriter, r *http.Request) {
	a := s.arrival(r)
	s.answer(w, r, http.StatusOK, answer{Request: &a})
}

// fails says whether this request is one of those that DEMO_BEHAVIOUR lets fail.
func (s *service) fails() bool {
	switch s.behaviour.kind {
	case failing:
		return rand.IntN(100) < s.behaviour.percent
	case failAfter:
		return s.requests.Load() > s.behaviour.requests
	default:
		return false
	}
}

// dawdle takes the time that DEMO_BEHAVIOUR=slow asks for.
func (s *service) dawdle(r *http.Request) {
	if s.behaviour.kind != slowly {
		return
	}
	select {
	case <-time.After(s.behaviour.after):
	case <-r.Context().Done():
	}
}

func (s *service) answer(w http.ResponseWriter, r *http.Request, status int, a answer) {
	a.Release, a.Instance, a.Version = s.release, s.instance, s.version
	a.LoadID = r.Header.Get("X-Load-Id")
	body, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and a number always marshal
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// queryDuration is the query's duration of that name, from least to most.
func queryDuration(r *http.Request, name string, fallback, least, most time.Duration) (time.Duration, error) {
	q := r.URL.Query().Get(name)
	if q == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(q)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%s=%q: not a duration from %s to %s", name, q, least, most)
	}
	return d, nil
}

// pacedReader reads at most piece bytes, and then waits.
type pacedReader struct {
	ctx   context.Context
	r     io.Reader
	piece int
	every time.Duration
}

func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), p.piece)])
	if err != nil {
		return n, err
	}
	select {
	case <-time.After(p.every * time.Duration(n) / time.Duration(p.piece)):
		return n, nil
	case <-p.ctx.Done():
		return n, errors.New("the client has gone")
	}
}
