package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// newTestService is of a release r7 that behaves like that.
func newTestService(t *testing.T, b behaviour) *service {
	t.Helper()
	return newService(config{release: "r7", instance: "ledger-r7-1", behaviour: b}, open(t, t.TempDir()))
}

func send(s *service, method, target string, body io.Reader) *http.Response {
	r := httptest.NewRequest(method, target, body)
	r.Header.Set("X-Load-Id", "id-1")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return w.Result()
}

// ask sends a request and decodes its answer, of which the status must be that.
func ask(t *testing.T, s *service, method, target, body string, status int) answer {
	t.Helper()
	resp := send(s, method, target, strings.NewReader(body))
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Errorf("%s %s %s: %d, want %d: %+v", method, target, body, resp.StatusCode, status, a)
	}
	return a
}

func TestInsertAndRead(t *testing.T) {
	s := newTestService(t, behaviour{kind: ok})
	if got, want := ask(t, s, "POST", "/entries", `{"id": "a/b", "amount": 0}`, 201), (answer{Release: "r7", LoadID: "id-1", ID: "a/b", Row: 1}); !reflect.DeepEqual(got, want) {
		t.Errorf("insert: %+v, want %+v", got, want)
	}
	ask(t, s, "POST", "/entries", `{"id": "a/b", "amount": 5}`, 409)
	ask(t, s, "POST", "/entries", `{"id": "c", "amount": 5}`, 201)
	if got := ask(t, s, "GET", "/entries/a%2Fb", "", 200).Entry; got == nil || *got != (entry{1, "a/b", 0, "r7"}) {
		t.Errorf("find: %+v", got)
	}
	ask(t, s, "GET", "/entries/d", "", 404)
	if got, want := ask(t, s, "GET", "/entries?after=1", "", 200).Entries, []entry{{2, "c", 5, "r7"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("list: %+v, want %+v", got, want)
	}
	if got := ask(t, s, "GET", "/entries?after=2", "", 200).Entries; got == nil || len(got) != 0 {
		t.Errorf("the end of the list: %#v, want an empty one", got)
	}
	ask(t, s, "GET", "/entries?after=x", "", 400)
	h := send(s, "GET", "/nowhere", nil).Header
	if h.Get("X-Release") != "r7" || h.Get("X-Instance") != "ledger-r7-1" || h.Get("X-Load-Id") != "id-1" {
		t.Errorf("header %v", h)
	}
}

func TestListHasPages(t *testing.T) {
	s := newTestService(t, behaviour{kind: ok})
	if _, err := s.store.db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)
		INSERT INTO entries (id, amount, release) SELECT 'id' || i, i, 'r1' FROM n`); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s, "GET", "/entries", "", 200).Entries; len(got) != pageSize || got[0].Row != 1 || got[pageSize-1].Row != pageSize {
		t.Errorf("%d entries", len(got))
	}
	if got := ask(t, s, "GET", fmt.Sprintf("/entries?after=%d", pageSize), "", 200).Entries; len(got) != 1 || got[0].ID != "id1001" {
		t.Errorf("the second page: %v", got)
	}
}

func TestInsertRefusesMistakes(t *testing.T) {
	s := newTestService(t, behaviour{kind: ok})
	for _, body := range []string{
		"", "[]", `{"id": "", "amount": 1}`, `{"id": "a"}`, `{"amount": 1}`, `{"id": "a", "amount": 1.5}`, `{"id": "a", "amount": 1} and more`,
		`{"id": "` + strings.Repeat("a", maxEntry) + `", "amount": 1}`,
	} {
		if a := ask(t, s, "POST", "/entries", body, 400); a.Message == "" {
			t.Errorf("%.40s: no message", body)
		}
	}
	half := io.MultiReader(strings.NewReader(`{"id": "a", "amount": 1}`), iotest.ErrReader(errors.New("broken")))
	if got := send(s, "POST", "/entries", half).StatusCode; got != 400 {
		t.Errorf("a broken body: %d, want 400", got)
	}
	if got := ask(t, s, "GET", "/entries", "", 200).Entries; len(got) != 0 {
		t.Errorf("inserted all the same: %v", got)
	}
}

func TestFailedInsertInsertsNothing(t *testing.T) {
	s := newTestService(t, behaviour{kind: failing, percent: 100})
	ask(t, s, "POST", "/entries", `{"id": "a", "amount": 1}`, 500)
	ask(t, s, "GET", "/entries/a", "", 404)
	s.behaviour.percent = 0
	ask(t, s, "POST", "/entries", `{"id": "a", "amount": 1}`, 201)
}

func TestBrokenDatabaseIsSaid(t *testing.T) {
	s := newTestService(t, behaviour{kind: ok})
	s.store.db.Close()
	for _, r := range [][2]string{{"POST", "/entries"}, {"GET", "/entries"}, {"GET", "/entries/a"}} {
		if a := ask(t, s, r[0], r[1], `{"id": "a", "amount": 1}`, 500); !strings.Contains(a.Message, "the database: ") {
			t.Errorf("%s %s: %+v", r[0], r[1], a)
		}
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		b    behaviour
		want []int // after 0, 2 and 4 s
	}{
		{behaviour{kind: ok}, []int{200, 200, 200}},
		{behaviour{kind: neverReady}, []int{503, 503, 503}},
		{behaviour{kind: slowStart, after: 3 * time.Second}, []int{503, 503, 200}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(config{behaviour: c.b}, nil)
			for _, want := range c.want {
				if got := send(s, "GET", "/healthz", nil).StatusCode; got != want {
					t.Errorf("%s after %s: %d, want %d", c.b.kind, time.Since(s.born), got, want)
				}
				time.Sleep(2 * time.Second) // of the bubble's clock
			}
		})
	}
}
