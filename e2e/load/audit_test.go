package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// book answers as examples/ledger does, written once more from its contract.
type book struct {
	mu      sync.Mutex
	entries []entry
	// insert answers an insert in place of the usual answer, if it returns true.
	insert func(w http.ResponseWriter, e entry) bool
	// pageSize is how many entries a list has.
	pageSize int
}

func (b *book) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := r.Header.Get("X-Load-Id")
	w.Header().Set("X-Release", "r1")
	w.Header().Set("X-Load-Id", id)
	said := map[string]any{"release": "r1", "load_id": id}
	switch {
	case r.Method == http.MethodPost:
		var e entry
		_ = json.NewDecoder(r.Body).Decode(&e)
		if b.insert != nil && b.insert(w, e) {
			return
		}
		said["id"], said["row"] = e.ID, b.add(e)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
	case r.URL.Path == "/entries":
		after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
		page := []entry{}
		for _, e := range b.entries {
			if e.Row > after && len(page) < b.pageSize {
				page = append(page, e)
			}
		}
		said["entries"] = page
	default:
		for _, e := range b.entries {
			if "/entries/"+e.ID == r.URL.Path {
				said["entry"] = e
			}
		}
	}
	writeJSON(w, said)
}

func (b *book) add(e entry) int64 {
	e.Row = int64(len(b.entries) + 1)
	b.entries = append(b.entries, e)
	return e.Row
}

// writing is the load of a ledger of n requests, over.
func writing(t *testing.T, b *book, n uint64) (*Ledger, string, prove.Report) {
	t.Helper()
	if b.pageSize == 0 {
		b.pageSize = 7
	}
	l, address := &Ledger{Write: 3, Read: 1}, serve(t, b)
	r := run(t, prove.Config{Target: address, KeepAlive: 3, Fresh: 2, Requests: l.Requests, MaxRequests: n})
	return l, address, r
}

func audited(t *testing.T, l *Ledger, address string) Audit {
	t.Helper()
	a, err := l.Audit(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if a.Writes != a.Answered+a.Refused+a.Repeated+a.Unanswered+a.Unsent {
		t.Errorf("the counts don't add up: %+v", a)
	}
	return a
}

func TestAuditOfAGoodLedger(t *testing.T) {
	b := &book{entries: []entry{{1, "of another load", 1}}}
	l, address, r := writing(t, b, 200)
	if r.OK != 200 || r.Kinds[Read].OK == 0 {
		t.Errorf("%s", r)
	}
	a := audited(t, l, address)
	if !a.Good() || a.Answered != r.Kinds[Write].OK || a.Answered != uint64(len(b.entries)-1) || a.Longest == 0 || a.Longest > r.Latency.Max || a.Faults != nil {
		t.Errorf("%s", a)
	}
}

// What happens to a write on the way, and what the audit makes of it.
func TestAuditFinds(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, entry) bool {
		return func(w http.ResponseWriter, _ entry) bool {
			w.WriteHeader(code)
			return true
		}
	}
	for name, c := range map[string]struct {
		insert func(*book) func(w http.ResponseWriter, e entry) bool
		want   Audit // without Writes and Longest
		good   bool
		fault  string
	}{
		"a lost write": {func(*book) func(http.ResponseWriter, entry) bool {
			return func(w http.ResponseWriter, e entry) bool {
				w.WriteHeader(http.StatusCreated)
				writeJSON(w, map[string]any{"release": "r1", "load_id": e.ID, "id": e.ID, "row": 1})
				return true
			}
		}, Audit{Answered: 1, Lost: 1}, false, "was answered with row 1 and is not there"},
		"one that was written twice": {func(b *book) func(http.ResponseWriter, entry) bool {
			return func(_ http.ResponseWriter, e entry) bool { b.add(e); return false }
		}, Audit{Answered: 1, Duplicated: 1}, false, "is there 2 times"},
		"one that was sent twice": {func(b *book) func(http.ResponseWriter, entry) bool {
			return func(w http.ResponseWriter, e entry) bool { b.add(e); return status(http.StatusConflict)(w, e) }
		}, Audit{Repeated: 1}, false, "was there already"},
		"another amount": {func(b *book) func(http.ResponseWriter, entry) bool {
			return func(w http.ResponseWriter, e entry) bool {
				w.WriteHeader(http.StatusCreated)
				writeJSON(w, map[string]any{"release": "r1", "load_id": e.ID, "id": e.ID, "row": b.add(entry{ID: e.ID, Amount: -1})})
				return true
			}
		}, Audit{Answered: 1, Altered: 1}, false, "amount -1"},
		"another row": {func(b *book) func(http.ResponseWriter, entry) bool {
			return func(w http.ResponseWriter, e entry) bool {
				b.add(e)
				w.WriteHeader(http.StatusCreated)
				writeJSON(w, map[string]any{"release": "r1", "load_id": e.ID, "id": e.ID, "row": 5})
				return true
			}
		}, Audit{Answered: 1, Altered: 1}, false, "row 5"},
		"a refused write": {func(*book) func(http.ResponseWriter, entry) bool { return status(503) }, Audit{Refused: 1}, true, ""},
		"a refused one that is there": {func(b *book) func(http.ResponseWriter, entry) bool {
			return func(w http.ResponseWriter, e entry) bool { b.add(e); return status(502)(w, e) }
		}, Audit{Refused: 1, FoundRefused: 1}, true, ""},
		"no answer": {func(*book) func(http.ResponseWriter, entry) bool {
			return func(http.ResponseWriter, entry) bool { panic(http.ErrAbortHandler) }
		}, Audit{Unanswered: 1}, true, ""},
		"no answer to one that is there": {func(b *book) func(http.ResponseWriter, entry) bool {
			return func(_ http.ResponseWriter, e entry) bool { b.add(e); panic(http.ErrAbortHandler) }
		}, Audit{Unanswered: 1, FoundUnanswered: 1}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := &book{}
			b.insert = c.insert(b)
			l, address, _ := writing(t, b, 1)
			a := audited(t, l, address)
			if a.Good() != c.good || !strings.Contains(strings.Join(a.Faults, "\n"), c.fault) || (len(a.Faults) == 0) != c.good {
				t.Errorf("good: %t, %s", a.Good(), a)
			}
			c.want.Writes = 1
			a.Longest, a.Faults = 0, nil
			if !reflect.DeepEqual(a, c.want) {
				t.Errorf("%+v, want %+v", a, c.want)
			}
		})
	}
}

func TestAuditOfWhatNobodySent(t *testing.T) {
	all := []write{{entry: entry{ID: "x-1", Amount: 1}, fate: unsent}, {entry: entry{ID: "x-2"}, fate: unsent}}
	a := audit(all, []entry{{1, "x-1", 1}, {2, "x-3", 1}}, 1)
	if a.Unsent != 2 || a.Invented != 2 || a.Good() || len(a.Faults) != 1 {
		t.Errorf("%s", a)
	}
	if got := fateOf(prove.Result{Err: fmt.Errorf("dial: %w", syscall.ECONNREFUSED), Outcome: prove.Lost}); got != unsent {
		t.Errorf("a refused connection: %d", got)
	}
}

// A list that can't be read, or can't be true, is an error and no good audit.
func TestAuditReadsTheListOnce(t *testing.T) {
	for want, answer := range map[string]struct {
		status, length int
		body           string
	}{
		"status 503":              {503, 0, ""},
		"not a list of entries":   {200, 2, "{}"},
		"row 1 comes after row 1": {200, 51, `{"entries":[{"row":1,"id":"1"},{"row":1,"id":"1"}]}`},
		"unexpected EOF":          {200, 20, "{}"},
	} {
		asked := 0
		address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.Header().Set("Content-Length", strconv.Itoa(answer.length))
			w.WriteHeader(answer.status)
			fmt.Fprint(w, answer.body)
		}))
		if _, err := (&Ledger{}).Audit(t.Context(), address); err == nil || !strings.Contains(err.Error(), want) || asked != 1 {
			t.Errorf("%v after %d requests, want %q after 1", err, asked, want)
		}
	}
}

func TestReadOfSomethingElseIsWrong(t *testing.T) {
	b := &book{pageSize: 1}
	address := serve(t, b)
	for want, there := range map[string][]entry{"no entry": nil, "Amount:6": {{1, "a", 6}}, "Row:2": {{2, "a", 5}}} {
		b.entries = there
		r := run(t, prove.Config{Target: address, KeepAlive: 1, MaxRequests: 1, Requests: one(func(c prove.Client, id string) *prove.Request {
			s := scribe{Ledger: &Ledger{Read: 1}, Client: c, wrote: &entry{Row: 1, ID: "a", Amount: 5}}
			return s.next(id)
		})})
		if r.Wrong != 1 || !strings.Contains(r.Failures[0].Error, want) {
			t.Errorf("%s, want %q", r, want)
		}
	}
}

func TestWrongAnswersToWrites(t *testing.T) {
	for want, said := range map[string]map[string]any{
		`wrote "b"`:  {"id": "b", "row": 1},
		"into row 0": {"id": "", "row": 0},
		"status 200": nil,
	} {
		b := &book{insert: func(w http.ResponseWriter, e entry) bool {
			if said == nil {
				w.WriteHeader(http.StatusOK)
				return true
			}
			said["release"], said["load_id"] = "r1", e.ID
			if said["id"] == "" {
				said["id"] = e.ID
			}
			w.WriteHeader(http.StatusCreated)
			writeJSON(w, said)
			return true
		}}
		_, _, r := writing(t, b, 1)
		if r.Wrong != 1 || !strings.Contains(r.Failures[0].String(), want) {
			t.Errorf("%s, want %q", r, want)
		}
	}
}

// The ledger example keeps the contract that book is written from. It is stopped and
// killed under load, which costs requests, but no write that was answered.
func TestAuditOfTheLedger(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the ledger")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "ledger")
	if out, err := exec.Command("go", "build", "-o", binary, "../../examples/ledger").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// An address that no client's connection begins at, and takes, while nobody
	// listens there.
	ln, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	l := &Ledger{Write: 3, Read: 1}
	g, err := prove.New(prove.Config{Target: net.JoinHostPort(host, port), Marked: true, KeepAlive: 3, Fresh: 2, Requests: l.Requests})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL, nil} {
		cmd := exec.Command(binary)
		cmd.Env = []string{"HOST=" + host, "PORT=" + port, "SEGUE_RELEASE=r1", "DATA_DIR=" + dir}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		waitForAnswers(t, g, 20)
		if signal == nil {
			break
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // what was killed has no good end
	}
	end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r, a := g.Report(), audited(t, l, net.JoinHostPort(host, port))
	if !a.Good() || r.Wrong > 0 || r.Kinds[Read].OK == 0 || a.Answered != r.Kinds[Write].OK {
		t.Errorf("%s\n%s", r, a)
	}
}

// waitForAnswers returns after n more good answers.
func waitForAnswers(t *testing.T, g *prove.Generator, n uint64) {
	t.Helper()
	began := time.Now()
	for want := g.Report().OK + n; g.Report().OK < want; {
		if time.Since(began) > safetyNet {
			t.Fatalf("no answers: %s", g.Report())
		}
		time.Sleep(5 * time.Millisecond) // nothing tells when another process listens
	}
}
