package main

import (
	"net/http/httptest"
	"strconv"
	"testing"
)

func TestAnswersSayHowOftenTheRequestCame(t *testing.T) {
	s := newService(t.Context(), config{})
	for want := 1; want <= 3; want++ {
		if got := send(s, "GET", "/", nil).Header.Get("X-Load-Seen"); got != strconv.Itoa(want) {
			t.Errorf("%q, want %d", got, want)
		}
	}
	// A copy is no request, and one without an ID is nobody's.
	for _, header := range []string{"Segue-Mirror", "X-Other"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(header, "1")
		if header == "Segue-Mirror" {
			r.Header.Set("X-Load-Id", "id-1")
		}
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		if got := w.Header().Get("X-Load-Seen"); got != "" {
			t.Errorf("%s: %q", header, got)
		}
	}
	if got := s.ids.count("id-1"); got != 4 {
		t.Errorf("%d, want 4", got)
	}
}

func TestOldIDsAreForgotten(t *testing.T) {
	c := newIDCounter()
	for i := range keptIDs + 10 {
		c.count(strconv.Itoa(i))
	}
	if len(c.times) != keptIDs || len(c.order) != keptIDs {
		t.Errorf("%d and %d are kept", len(c.times), len(c.order))
	}
	if c.count("0") != 1 || c.count(strconv.Itoa(keptIDs)) != 2 {
		t.Error("not the oldest was forgotten")
	}
}
