package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// ask sends a request to a release r7 that behaves like that.
func ask(t *testing.T, b behaviour, method, target string, body io.Reader) *http.Response {
	t.Helper()
	s := newService(t.Context(), config{release: "r7", instance: "demo-r7-1", version: "seven", behaviour: b})
	return send(s, method, target, body)
}

func send(s *service, method, target string, body io.Reader) *http.Response {
	r := httptest.NewRequest(method, target, body)
	r.Header.Set("X-Load-Id", "id-1")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return w.Result()
}

func decode(t *testing.T, resp *http.Response) answer {
	t.Helper()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEveryAnswerNamesItsSender(t *testing.T) {
	for _, target := range []string{"/", "/healthz", "/smoke", "/bytes?n=3", "/status/503", "/status/204", "/slow?d=0s", "/nowhere"} {
		h := ask(t, behaviour{kind: ok}, "GET", target, nil).Header
		if h.Get("X-Release") != "r7" || h.Get("X-Instance") != "demo-r7-1" || h.Get("X-Load-Id") != "id-1" {
			t.Errorf("GET %s: header %v", target, h)
		}
	}
	got := decode(t, ask(t, behaviour{kind: ok}, "GET", "/", nil))
	want := answer{Release: "r7", Instance: "demo-r7-1", Version: "seven", LoadID: "id-1"}
	if got != want {
		t.Errorf("GET /: %+v, want %+v", got, want)
	}
}

func TestStatusFollowsBehaviour(t *testing.T) {
	for _, c := range []struct {
		b      behaviour
		target string
		want   int
	}{
		{behaviour{kind: ok}, "/healthz", 200},
		{behaviour{kind: ok}, "/smoke", 200},
		{behaviour{kind: unhealthy}, "/healthz", 500},
		{behaviour{kind: unhealthy}, "/", 200},
		{behaviour{kind: smokeFails}, "/healthz", 200},
		{behaviour{kind: smokeFails}, "/smoke", 500},
		{behaviour{kind: failing, percent: 100}, "/", 500},
		{behaviour{kind: failing, percent: 100}, "/healthz", 200},
		{behaviour{kind: failing, percent: 0}, "/", 200},
		{behaviour{kind: ok}, "/status/418", 418},
		{behaviour{kind: ok}, "/status/100", 400},
		{behaviour{kind: ok}, "/status/x", 400},
		{behaviour{kind: ok}, "/bytes", 400},
		{behaviour{kind: ok}, "/bytes?n=-1", 400},
		{behaviour{kind: ok}, "/slow?d=5", 400},
		{behaviour{kind: ok}, "/events?every=0s", 400},
		{behaviour{kind: ok}, "/echo", 405},
		{behaviour{kind: ok}, "/nowhere", 404},
	} {
		if got := ask(t, c.b, "GET", c.target, nil).StatusCode; got != c.want {
			t.Errorf("%s: GET %s: %d, want %d", c.b.kind, c.target, got, c.want)
		}
	}
}

func TestErrorsFailsItsShare(t *testing.T) {
	s := newService(t.Context(), config{behaviour: behaviour{kind: failing, percent: 20}})
	failed := 0
	for range 10_000 {
		if send(s, "GET", "/", nil).StatusCode == 500 {
			failed++
		}
	}
	// Six standard deviations of a binomial with p = 0.2 are 240.
	if failed < 1760 || failed > 2240 {
		t.Errorf("%d of 10000 failed, want about 2000", failed)
	}
}

func TestErrorsAfterSoManyRequests(t *testing.T) {
	s := newService(t.Context(), config{behaviour: behaviour{kind: failAfter, requests: 2}})
	for i, want := range []int{200, 200, 500, 500} {
		send(s, "GET", "/healthz", nil) // doesn't count
		if got := send(s, "GET", "/", nil).StatusCode; got != want {
			t.Errorf("request %d: %d, want %d", i+1, got, want)
		}
	}
	if got := send(s, "GET", "/healthz", nil).StatusCode; got != 200 {
		t.Errorf("/healthz: %d", got)
	}
}

func TestSlowlyTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			method, target string
			want           time.Duration
		}{{"GET", "/", time.Second}, {"POST", "/echo", time.Second}, {"GET", "/healthz", 0}} {
			begin := time.Now()
			resp := ask(t, behaviour{kind: slowly, after: time.Second}, c.method, c.target, nil)
			if took := time.Since(begin); resp.StatusCode != 200 || took != c.want {
				t.Errorf("%s: %d after %s, want 200 after %s", c.target, resp.StatusCode, took, c.want)
			}
		}
	})
}

func TestSlowStartGetsHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t.Context(), config{behaviour: behaviour{kind: slowStart, after: 3 * time.Second}})
		for _, want := range []int{503, 503, 200} {
			if got := send(s, "GET", "/healthz", nil).StatusCode; got != want {
				t.Errorf("after %s: %d, want %d", time.Since(s.born), got, want)
			}
			time.Sleep(2 * time.Second) // of the bubble's clock
		}
	})
}

func TestEcho(t *testing.T) {
	body := strings.Repeat("segue", 50_000)
	sum := sha256.Sum256([]byte(body))
	for _, target := range []string{"/echo", "/upload?rate=1000000000"} {
		got := decode(t, ask(t, behaviour{kind: ok}, "POST", target, strings.NewReader(body)))
		if got.Length == nil || *got.Length != int64(len(body)) || got.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("POST %s: %+v", target, got)
		}
	}
	if got := decode(t, ask(t, behaviour{kind: ok}, "POST", "/echo", nil)); got.Length == nil || *got.Length != 0 {
		t.Errorf("empty body: %+v", got)
	}
}

func TestEchoOfBrokenBodyIsNoSuccess(t *testing.T) {
	body := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("broken")))
	resp := ask(t, behaviour{kind: ok}, "POST", "/echo", body)
	if a := decode(t, resp); resp.StatusCode != 400 || *a.Length != 4 || a.SHA256 != "" {
		t.Errorf("status %d, %+v", resp.StatusCode, a)
	}
}

func TestUploadTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		resp := ask(t, behaviour{kind: ok}, "POST", "/upload?rate=1000", strings.NewReader(strings.Repeat("x", 5000)))
		if took := time.Since(begin); resp.StatusCode != 200 || took != 5*time.Second {
			t.Errorf("status %d after %s, want 200 after 5s", resp.StatusCode, took)
		}
	})
	if got := ask(t, behaviour{kind: ok}, "POST", "/upload?rate=0", nil).StatusCode; got != 400 {
		t.Errorf("rate=0: %d, want 400", got)
	}
}

func TestHangAnswersNothing(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	s := newService(stopping, config{behaviour: behaviour{kind: hang}})
	server := httptest.NewServer(s.handler())
	defer server.Close()
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	stop()
	if err := <-answered; err == nil {
		t.Error("there was an answer")
	}
}
