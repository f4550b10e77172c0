package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// entry is one of examples/ledger.
type entry struct {
	Row    int64  `json:"row,omitempty"` // from 1; 0 is not known
	ID     string `json:"id"`
	Amount int64  `json:"amount"`
}

// fate is what a client knows of its write.
type fate int

const (
	// unanswered: there was no whole answer; it may have been written or not.
	unanswered fate = iota
	// answered: a whole answer with a 2xx; it has been written.
	answered
	// refused: a whole answer with another status; if the service gave it, the
	// entry has not been written.
	refused
	// repeated: the service says that it has the entry already. As no client
	// sends one twice, somebody else did.
	repeated
	// unsent: there was no connection; it can't have been written.
	unsent
)

// write is an entry that a client tried to write.
type write struct {
	entry
	fate fate
	took time.Duration
}

// writes keeps all of them.
type writes struct {
	mu  sync.Mutex
	all []write
}

func (w *writes) add(one write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, one)
}

// nextWrite makes r a Write.
func (c *client) nextWrite(r *request) {
	r.entry = &entry{ID: r.id, Amount: c.random.Int64N(1 << 40)}
	body, err := json.Marshal(r.entry)
	if err != nil {
		panic(err) // a string and a number always marshal
	}
	r.http.Method = http.MethodPost
	r.http.URL = &url.URL{Path: "/entries"}
	r.http.Header.Set("Content-Type", "application/json")
	r.http.Body = io.NopCloser(bytes.NewReader(body))
	r.http.ContentLength = int64(len(body))
	r.status = http.StatusCreated
	r.check = r.checkWrite
}

// checkWrite keeps the row that the answer names.
func (r *request) checkWrite(resp *http.Response) error {
	s, err := r.checkJSON(resp)
	if err != nil {
		return err
	}
	if s.ID != r.entry.ID {
		return mismatchf("the service wrote %q", s.ID)
	}
	if s.Row < 1 {
		return mismatchf("the service wrote into row %d", s.Row)
	}
	r.entry.Row = s.Row
	return nil
}

// checkRead checks an answer that must have the entry e.
func (r *request) checkRead(resp *http.Response, e entry) error {
	s, err := r.checkJSON(resp)
	if err != nil {
		return err
	}
	if s.Entry == nil {
		return mismatch("the answer has no entry")
	}
	if *s.Entry != e {
		return mismatchf("the entry is %+v, but %+v was written", *s.Entry, e)
	}
	return nil
}

// written keeps what became of a write.
func (c *client) written(e *entry, r result) {
	w := write{entry: *e, fate: fateOf(r), took: r.took}
	c.writes.add(w)
	if r.outcome == OK {
		c.wrote = &w.entry
	}
}

func fateOf(r result) fate {
	switch {
	case r.whole && r.status/100 == 2:
		return answered
	case r.whole && r.status == http.StatusConflict:
		return repeated
	case r.whole:
		return refused
	case errors.Is(r.err, syscall.ECONNREFUSED):
		return unsent
	default:
		return unanswered
	}
}
