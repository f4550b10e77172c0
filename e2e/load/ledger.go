package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// The kinds of requests to examples/ledger.
const (
	// Write is POST /entries with the request's id and an amount, an insert: the
	// answer is 201 with the id and a row number.
	Write prove.Kind = "write"
	// Read is GET /entries/ID of the last entry that the client has written: the
	// answer has it as it was written. Before there is one, a Write takes its
	// place.
	Read prove.Kind = "read"
)

// Ledger writes entries to examples/ledger and reads them, and keeps what the clients
// were told: [Ledger.Audit] holds that against the service's own list when the load is
// over. Each write takes some 200 bytes. It is good for one load.
type Ledger struct {
	// Write and Read are the weights of the kinds.
	Write, Read int

	writes writes
}

// Requests is a [prove.Source].
func (l *Ledger) Requests(c prove.Client) func(id string) *prove.Request {
	s := scribe{Ledger: l, Client: c}
	return s.next
}

// scribe is a client of the ledger.
type scribe struct {
	*Ledger
	prove.Client
	wrote *entry // the last one that was answered; nil is none
}

// next makes the next request.
func (s *scribe) next(id string) *prove.Request {
	if s.wrote == nil || s.Random.IntN(s.Ledger.Write+s.Ledger.Read) < s.Ledger.Write {
		return s.write(id)
	}
	e := *s.wrote
	r := request(Read, http.MethodGet, "/entries/"+e.ID, "")
	r.Check = func(resp *http.Response) error { return checkRead(resp, id, e) }
	return r
}

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

func (s *scribe) write(id string) *prove.Request {
	e := &entry{ID: id, Amount: s.Random.Int64N(1 << 40)}
	body, err := json.Marshal(e)
	if err != nil {
		panic(err) // a string and a number always marshal
	}
	r := request(Write, http.MethodPost, "/entries", "")
	r.HTTP.Header.Set("Content-Type", "application/json")
	r.HTTP.Body = io.NopCloser(bytes.NewReader(body))
	r.HTTP.ContentLength = int64(len(body))
	r.Status = http.StatusCreated
	r.Check = func(resp *http.Response) error { return checkWrite(resp, e) }
	r.Ended = func(res prove.Result) { s.written(e, res) }
	return r
}

// checkWrite keeps the row that the answer names.
func checkWrite(resp *http.Response, e *entry) error {
	s, err := readJSON(resp, e.ID)
	if err != nil {
		return err
	}
	if s.ID != e.ID {
		return prove.Mismatchf("the service wrote %q", s.ID)
	}
	if s.Row < 1 {
		return prove.Mismatchf("the service wrote into row %d", s.Row)
	}
	e.Row = s.Row
	return nil
}

// checkRead checks an answer that must have the entry e.
func checkRead(resp *http.Response, id string, e entry) error {
	s, err := readJSON(resp, id)
	if err != nil {
		return err
	}
	if s.Entry == nil {
		return prove.Mismatchf("the answer has no entry")
	}
	if *s.Entry != e {
		return prove.Mismatchf("the entry is %+v, but %+v was written", *s.Entry, e)
	}
	return nil
}

// written keeps what became of a write.
func (s *scribe) written(e *entry, r prove.Result) {
	w := write{entry: *e, fate: fateOf(r), took: r.Took}
	s.writes.add(w)
	if r.Outcome == prove.OK {
		s.wrote = &w.entry
	}
}

func fateOf(r prove.Result) fate {
	switch {
	case r.Whole && r.Status/100 == 2:
		return answered
	case r.Whole && r.Status == http.StatusConflict:
		return repeated
	case r.Whole:
		return refused
	case errors.Is(r.Err, syscall.ECONNREFUSED):
		return unsent
	default:
		return unanswered
	}
}
