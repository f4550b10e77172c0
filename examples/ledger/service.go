package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// maxEntry is the longest body of an insert, in bytes.
	maxEntry = 64 << 10
	// pageSize is how many entries one list has at most.
	pageSize = 1000
)

// service answers the requests of the one instance.
type service struct {
	config
	born  time.Time
	store *store
}

// answer is the body of an answer. Every field but the first two belongs to some
// answers only.
type answer struct {
	Release string `json:"release"`
	LoadID  string `json:"load_id,omitempty"`
	ID      string `json:"id,omitempty"`
	Row     int64  `json:"row,omitempty"`
	// Entry is the one that was asked for, Entries are a page of a list.
	Entry   *entry  `json:"entry,omitempty"`
	Entries []entry `json:"entries,omitzero"`
	Message string  `json:"message,omitempty"`
}

func newService(c config, st *store) *service {
	return &service{config: c, born: time.Now(), store: st}
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /entries", s.insert)
	mux.HandleFunc("GET /entries/{id}", s.find)
	mux.HandleFunc("GET /entries", s.list)
	mux.HandleFunc("GET /healthz", s.healthz)
	return s.marked(mux)
}

// marked puts the sender on every answer, those of the mux included.
func (s *service) marked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", s.release)
		w.Header().Set("X-Instance", s.instance)
		if id := r.Header.Get("X-Load-Id"); id != "" {
			w.Header().Set("X-Load-Id", id)
		}
		next.ServeHTTP(w, r)
	})
}

func (s *service) insert(w http.ResponseWriter, r *http.Request) {
	e, err := readEntry(http.MaxBytesReader(w, r.Body, maxEntry))
	if err != nil {
		s.answer(w, r, http.StatusBadRequest, answer{Message: err.Error()})
		return
	}
	if s.behaviour.kind == failing && rand.IntN(100) < s.behaviour.percent {
		s.answer(w, r, http.StatusInternalServerError, answer{ID: e.ID, Message: "failing, as LEDGER_BEHAVIOUR asks"})
		return
	}
	e.Release = s.release
	// A client that goes away doesn't interrupt a commit.
	row, err := s.store.insert(context.WithoutCancel(r.Context()), e)
	switch {
	case errors.Is(err, errExists):
		s.answer(w, r, http.StatusConflict, answer{ID: e.ID, Message: err.Error()})
	case err != nil:
		s.failed(w, r, err)
	default:
		w.Header().Set("Location", "/entries/"+url.PathEscape(e.ID))
		s.answer(w, r, http.StatusCreated, answer{ID: e.ID, Row: row})
	}
}

// readEntry reads the body of an insert. All of it must be there: half a body is
// no entry.
func readEntry(body io.Reader) (entry, error) {
	var in struct {
		ID     string `json:"id"`
		Amount *int64 `json:"amount"`
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return entry{}, fmt.Errorf("the body broke off or is too long: %w", err)
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return entry{}, fmt.Errorf(`the body is not {"id": "...", "amount": n}: %w`, err)
	}
	if in.ID == "" || in.Amount == nil {
		return entry{}, errors.New(`the body has no id or no amount: send {"id": "...", "amount": n}`)
	}
	return entry{ID: in.ID, Amount: *in.Amount}, nil
}

func (s *service) find(w http.ResponseWriter, r *http.Request) {
	e, err := s.store.find(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, errMissing):
		s.answer(w, r, http.StatusNotFound, answer{ID: r.PathValue("id"), Message: err.Error()})
	case err != nil:
		s.failed(w, r, err)
	default:
		s.answer(w, r, http.StatusOK, answer{Entry: &e})
	}
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	var after int64
	if q := r.URL.Query().Get("after"); q != "" {
		n, err := strconv.ParseInt(q, 10, 64)
		if err != nil || n < 0 {
			s.answer(w, r, http.StatusBadRequest, answer{Message: fmt.Sprintf("after=%q: not the number of a row", q)})
			return
		}
		after = n
	}
	entries, err := s.store.list(r.Context(), after, pageSize)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, answer{Entries: entries})
}

func (s *service) healthz(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.behaviour.kind == neverReady:
		s.answer(w, r, http.StatusServiceUnavailable, answer{Message: "not ready, as LEDGER_BEHAVIOUR asks"})
	case s.behaviour.kind == slowStart && time.Since(s.born) < s.behaviour.after:
		s.answer(w, r, http.StatusServiceUnavailable, answer{Message: "still starting"})
	default:
		s.answer(w, r, http.StatusOK, answer{Message: "healthy"})
	}
}

func (s *service) failed(w http.ResponseWriter, r *http.Request, err error) {
	s.answer(w, r, http.StatusInternalServerError, answer{Message: "the database: " + err.Error()})
}

func (s *service) answer(w http.ResponseWriter, r *http.Request, status int, a answer) {
	a.Release = s.release
	a.LoadID = r.Header.Get("X-Load-Id")
	body, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}
