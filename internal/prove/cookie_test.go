package prove

import (
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"testing"
)

// guest is a service that gives each client a cookie and remembers what it gets.
type guest struct {
	mu    sync.Mutex
	given int
	asked []string // cookies of each request
	// release answers the request n, from 0; clear takes the cookie back.
	release func(n int) string
	clear   bool
}

func (g *guest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.asked)
	g.asked = append(g.asked, r.Header.Get("Cookie"))
	if _, err := r.Cookie("seat"); err != nil {
		g.given++
		http.SetCookie(w, &http.Cookie{Name: "seat", Value: fmt.Sprint(g.given)})
	} else if g.clear {
		http.SetCookie(w, &http.Cookie{Name: "seat", MaxAge: -1})
	}
	w.Header().Set("X-Release", g.release(n))
	w.Header().Set("X-Load-Id", r.Header.Get("X-Load-Id"))
}

func always(release string) func(int) string { return func(int) string { return release } }

func TestCookiesAreKept(t *testing.T) {
	for name, c := range map[string]struct {
		keep, clear bool
		want        []string
	}{
		"kept":        {true, false, []string{"", "seat=1", "seat=1", "seat=1"}},
		"cleared":     {true, true, []string{"", "seat=1", "", "seat=2"}},
		"not a guest": {false, false, []string{"", "", "", ""}},
	} {
		g := &guest{release: always("r1"), clear: c.clear}
		run(t, generator(t, Config{Target: serve(t, g), Fresh: 1, MaxRequests: 4, Cookies: c.keep}))
		if !reflect.DeepEqual(g.asked, c.want) {
			t.Errorf("%s: %q, want %q", name, g.asked, c.want)
		}
	}
}

func TestEachClientHasItsOwnCookies(t *testing.T) {
	g := &guest{release: always("r1")}
	clients := generator(t, Config{Target: serve(t, g), KeepAlive: 2, Cookies: true}).clients(nil)
	for range 2 {
		for _, c := range clients {
			defer c.dropConn()
			if r := c.do(t.Context(), c.next()); r.Outcome != OK {
				t.Fatalf("%+v", r)
			}
		}
	}
	if want := []string{"", "", "seat=1", "seat=2"}; !reflect.DeepEqual(g.asked, want) {
		t.Errorf("%q, want %q", g.asked, want)
	}
}

func TestMovesAreCounted(t *testing.T) {
	g := &guest{release: func(n int) string { return []string{"r1", "r1", "r2", "r1", "r2", "r2"}[n] }}
	r := run(t, generator(t, Config{Target: serve(t, g), KeepAlive: 1, MaxRequests: 6}))
	if want := []Move{{"r1", "r2", 2}, {"r2", "r1", 1}}; !reflect.DeepEqual(r.Moves, want) {
		t.Errorf("%v, want %v", r.Moves, want)
	}
}

func TestHeaderIsAdded(t *testing.T) {
	wanted := make(chan []string, 1)
	g := &guest{release: always("r1")}
	target := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wanted <- r.Header.Values("X-Wanted")
		g.ServeHTTP(w, r)
	}))
	run(t, generator(t, Config{Target: target, KeepAlive: 1, MaxRequests: 1, Header: http.Header{"X-Wanted": {"a", "b"}}}))
	if got := <-wanted; !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}
