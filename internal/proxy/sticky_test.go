package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"strings"
	"testing"
)

// tokenOf is a good token that is always the same for a client's name.
func tokenOf(client string) string {
	sum := sha256.Sum256([]byte(client))
	return base64.RawURLEncoding.EncodeToString(sum[:tokenBytes])
}

// Over all weights, up and down, a client is at the candidate from one weight on and at
// stable below it.
func TestStickyNeverGoesBack(t *testing.T) {
	const clients = 1000
	for _, c := range []struct {
		name   string
		sticky Sticky
		header func(client string) http.Header
	}{
		{"cookie", Sticky{Cookie: "segue"}, func(client string) http.Header {
			return http.Header{"Cookie": {"other=1; segue=" + tokenOf(client)}}
		}},
		{"header", Sticky{Header: "x-user"}, func(client string) http.Header { return http.Header{"X-User": {client}} }},
	} {
		var services [101]*service
		for weight := range services {
			s := canary(weight, at("127.0.0.1:1"), at("127.0.0.1:2"))
			s.Sticky = &c.sticky
			services[weight] = s.compile(newTestRegistry())
		}
		atCandidate := func(weight int, client string) bool {
			return services[weight].chooseFor(&flight{head: headOf(c.header(client))}, rand.IntN).id == "r2"
		}
		joined := make(map[int]int)
		for n := range clients {
			client := fmt.Sprintf("client %d", n)
			from := 0
			for !atCandidate(from, client) {
				from++
			}
			joined[from]++
			for weight := 100; weight >= 0; weight-- {
				if is := atCandidate(weight, client); is != (weight >= from) {
					t.Fatalf("%s: %s came to the candidate at %d %%; at %d %% it is there: %t", c.name, client, from, weight, is)
				}
			}
		}
		if joined[0] > 0 || len(joined) < 90 {
			t.Errorf("%s: the clients came at only %d weights, or at 0: %v", c.name, len(joined), joined)
		}
	}
}

func TestStickyChoice(t *testing.T) {
	compiled := func(candidate string, s Sticky) *service {
		svc := canary(50, at("127.0.0.1:1"), at("127.0.0.1:2"))
		svc.Releases[1].ID, svc.Candidate, svc.Sticky = candidate, candidate, &s
		return svc.compile(newTestRegistry())
	}
	// Another candidate tries other clients.
	moved := 0
	for n := range 1000 {
		f := &flight{head: headOf(http.Header{"X-User": {fmt.Sprint(n)}})}
		one := compiled("r2", Sticky{Header: "X-User"}).chooseFor(f, rand.IntN).id == "r2"
		other := compiled("r3", Sticky{Header: "X-User"}).chooseFor(f, rand.IntN).id == "r3"
		if one != other {
			moved++
		}
	}
	if moved < 400 || moved > 600 {
		t.Errorf("%d of 1000 clients are of one half only, want about 500", moved)
	}
	// Requests without the header are shared out one by one.
	counts := make(map[string]int)
	for range 1000 {
		counts[compiled("r2", Sticky{Header: "X-User"}).chooseFor(&flight{}, rand.IntN).id]++
	}
	if counts["r1"] < 300 || counts["r2"] < 300 {
		t.Errorf("without a header: %v", counts)
	}
	// A client whose release has no upstream for it goes to the other one.
	svc := compiled("r2", Sticky{Cookie: "segue"})
	for _, r := range svc.releases {
		f := &flight{left: []*account{r.account}}
		if got := svc.chooseFor(f, rand.IntN); got == nil || got == r {
			t.Errorf("having left %s: %v", r.id, got)
		}
	}
}

func TestStickyCookie(t *testing.T) {
	stable := handled(t, func(w http.ResponseWriter, _ *http.Request) { http.SetCookie(w, &http.Cookie{Name: "own", Value: "1"}) })
	sticky := func(weight int) Service {
		s := canary(weight, stable, stable)
		s.Sticky = &Sticky{Cookie: "segue"}
		return s
	}
	p := start(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, sticky(50))
	given := func(headers ...string) *http.Cookie {
		t.Helper()
		resp, _ := p.do("GET", "/a/b", "", headers...)
		own, found := 0, (*http.Cookie)(nil)
		for _, c := range resp.Cookies() {
			switch c.Name {
			case "own":
				own++
			case "segue":
				found = c
			}
		}
		if own != 1 {
			t.Errorf("the service's own cookie came %d times", own)
		}
		return found
	}
	c := given()
	if c == nil || !isToken(c.Value) || c.Path != "/" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure ||
		c.Domain != "" || c.MaxAge != 0 || !c.Expires.IsZero() {
		t.Errorf("the cookie is %+v", c)
	}
	if other := given(); other == nil || other.Value == c.Value {
		t.Errorf("another client gets %v after %v", other, c)
	}
	if c := given("X-Forwarded-Proto", "https"); c == nil || !c.Secure {
		t.Errorf("the cookie of a client with HTTPS is %+v", c)
	}
	if c := given("Cookie", "a=b; segue="+c.Value); c != nil {
		t.Errorf("a client with a token gets another: %+v", c)
	}
	for _, bad := range []string{"", "x", strings.Repeat("x", 100), c.Value + "A"} {
		if c := given("Cookie", "segue="+bad); c == nil {
			t.Errorf("a client with the token %q gets no other", bad)
		}
	}
	for i, weight := range []int{0, 100} {
		p.apply(uint64(i)+2, sticky(weight))
		if c := given(); c != nil {
			t.Errorf("at %d %% a client gets %+v, though there is nothing to choose", weight, c)
		}
	}
}

// What a browser sees, over the weights of a canary and its abort.
func TestStickyClients(t *testing.T) {
	stable, candidate := saying(t, "r1"), saying(t, "r2")
	version := uint64(0)
	p := start(t, Config{})
	shift := func(weight int) {
		version++
		s := canary(weight, stable, candidate)
		s.Sticky = &Sticky{Cookie: "segue"}
		p.apply(version, s)
	}
	shift(5)
	clients := make([]http.CookieJar, 40)
	last := make([]string, len(clients))
	for i := range clients {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = jar
	}
	ask := func(i int) string {
		p.http.Jar = clients[i]
		_, text := p.do("GET", "/", "")
		return text
	}
	for _, weight := range []int{5, 25, 50, 75, 100} {
		shift(weight)
		for i := range clients {
			for range 3 {
				got := ask(i)
				if last[i] == "r2" && got != "r2" {
					t.Errorf("at %d %% client %d is back at %s", weight, i, got)
				}
				if weight == 100 && got != "r2" {
					t.Errorf("at 100 %% client %d is at %s", i, got)
				}
				last[i] = got
			}
		}
	}
	shift(0)
	for i := range clients {
		if got := ask(i); got != "r1" {
			t.Errorf("after the abort client %d is at %s", i, got)
		}
	}
}
