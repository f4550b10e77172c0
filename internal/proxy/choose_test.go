package proxy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"
)

func TestChooseReleaseByWeight(t *testing.T) {
	s := &service{}
	weights := map[string]int{"r1": 70, "r2": 25, "r3": 5, "r4": 0}
	for _, id := range []string{"r1", "r2", "r3", "r4"} {
		s.releases = append(s.releases, &release{id: id, weight: weights[id], account: &account{}})
	}
	counts := make(map[string]int)
	const n = 100000
	for range n {
		counts[s.choose(nil, rand.IntN).id]++
	}
	for id, weight := range weights {
		want := float64(weight) / 100 * n
		// Six standard deviations: once in 500 million runs.
		if off := math.Abs(float64(counts[id]) - want); off > 6*math.Sqrt(want) {
			t.Errorf("%s got %d of %d, want %.0f", id, counts[id], n, want)
		}
	}
	left := []*account{s.releases[0].account, s.releases[1].account}
	if r := s.choose(left, rand.IntN); r.id != "r3" {
		t.Errorf("%s is chosen, want the only one left", r.id)
	}
	if r := s.choose(append(left, s.releases[2].account), rand.IntN); r != nil {
		t.Errorf("%s is chosen, which has no weight", r.id)
	}
}

// A share of 5 % is one: of 100,000 requests as many go to the candidate as lie within
// the interval that a binomial distribution leaves in 99.99 % of cases.
func TestSplitIsBinomial(t *testing.T) {
	const n, share, confidence = 100000, 5, 0.9999
	low, high := binomialInterval(n, share/100., confidence)
	if low < 4700 || high > 5300 || low >= 5000 || high <= 5000 {
		t.Fatalf("the interval is %d to %d", low, high)
	}
	for _, c := range []struct {
		name   string
		sticky *Sticky
	}{{"each request", nil}, {"clients by cookie", &Sticky{Cookie: "segue"}}, {"clients by header", &Sticky{Header: "X-User"}}} {
		s := canary(share, at("127.0.0.1:1"), at("127.0.0.1:2"))
		s.Sticky = c.sticky
		svc := s.compile(newTestRegistry())
		random := rand.New(rand.NewPCG(1, 2))
		got := 0
		for range n {
			client := fmt.Sprintf("%016x%016x", random.Uint64(), random.Uint64())
			f := &flight{head: headOf(http.Header{"X-User": {client}, "Cookie": {"segue=" + tokenOf(client)}})}
			if svc.chooseFor(f, random.IntN).id == "r2" {
				got++
			}
		}
		if got < low || got > high {
			t.Errorf("%s: the candidate got %d of %d, want %d to %d", c.name, got, n, low, high)
		}
	}
}

// binomialInterval returns the smallest and the largest number of hits of n that don't
// lie in one of the two tails, which have half of what the confidence leaves each.
func binomialInterval(n int, p, confidence float64) (low, high int) {
	logFactorial := func(n int) float64 { l, _ := math.Lgamma(float64(n) + 1); return l }
	tail := (1 - confidence) / 2
	low = -1
	below := 0.
	for k := 0; k <= n; k++ {
		below += math.Exp(logFactorial(n) - logFactorial(k) - logFactorial(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log(1-p))
		if low < 0 && below > tail {
			low = k
		}
		if below >= 1-tail {
			return low, k
		}
	}
	return low, n
}

func TestChooseUpstream(t *testing.T) {
	r := &release{}
	for i := range 4 {
		u := newUpstream(upstreamKey{Upstream: Upstream{ID: fmt.Sprint(i)}}, nil)
		r.pools = append(r.pools, &pool{upstream: u})
	}
	u := r.pools
	u[0].inFlight = 10
	chosen := func(tried ...*pool) map[string]int {
		counts := make(map[string]int)
		for range 6000 {
			if u, _ := r.choose(tried, rand.IntN); u != nil {
				counts[u.upstream.id]++
			}
		}
		return counts
	}
	// The busiest of four loses against whichever it is drawn with; the others
	// share its part.
	if c := chosen(); c["0"] != 0 || c["1"] < 1500 || c["2"] < 1500 || c["3"] < 1500 {
		t.Errorf("chosen: %v", c)
	}
	u[1].upstream.condition.healthy.Store(false)
	if c := chosen(); c["1"] != 0 || c["2"] == 0 {
		t.Errorf("with 1 ejected: %v", c)
	}
	if c := chosen(u[2], u[3]); c["0"] != 6000 {
		t.Errorf("with 2 and 3 tried: %v", c)
	}
	// To try an ejected one is better than to refuse.
	if c := chosen(u[0], u[2], u[3]); c["1"] != 6000 {
		t.Errorf("with all but 1 tried: %v", c)
	}
	if c := chosen(u...); len(c) != 0 {
		t.Errorf("with all tried: %v", c)
	}
	for _, up := range u {
		up.upstream.condition.healthy.Store(false)
	}
	if c := chosen(); len(c) == 0 {
		t.Error("with all ejected none is tried")
	}
	r.pools = u[:1]
	if c := chosen(u[0]); c["0"] != 6000 {
		t.Error("the only one isn't tried again")
	}
	if c := chosen(u[0], u[0]); len(c) != 0 {
		t.Error("the only one is tried a third time")
	}
}

// BenchmarkChoose is what rules and scores cost a request: nothing where a service has none.
func BenchmarkChoose(b *testing.B) {
	scored := &Scoring{ID: "d1", Maturity: 10 * time.Second, Failing: Failing{Status: []StatusRange{{500, 599}}, Header: "X-Failed"}}
	head := headOf(http.Header{"X-User": {"somebody"}, "Cookie": {"a=b; segue=" + tokenOf("somebody")}})
	for _, c := range []struct {
		name   string
		change func(*Service)
	}{
		{"weights", func(*Service) {}},
		{"header", func(s *Service) { s.Match = []Match{{Header: "X-Segue-Release", Value: "candidate"}} }},
		{"sticky header", func(s *Service) { s.Sticky = &Sticky{Header: "X-User"} }},
		{"sticky cookie", func(s *Service) { s.Sticky = &Sticky{Cookie: "segue"} }},
		{"mirror", func(s *Service) { s.Mirror = &Mirror{Share: 10, MaxInFlight: 10} }},
		{"scored", func(s *Service) { s.Scoring = scored }},
		{"scored by clients", func(s *Service) { s.Scoring, s.Sticky = scored, &Sticky{Header: "X-User"} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := canary(50, at("127.0.0.1:1"), at("127.0.0.1:2"))
			c.change(&s)
			p := New(Config{})
			if err := p.Apply(b.Context(), Table{Version: 1, Services: []Service{s}}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			f := &flight{}
			for b.Loop() {
				f.reset()
				f.loop, f.path, f.head = p.loops[0], "/", head
				if f.start() != going {
					b.Fatal("there is no upstream")
				}
				f.answered(200, head)
				f.end(answered, 200, 1)
			}
		})
	}
}

func newTestRegistry() *registry { return newRegistry(nil, newShared()) }
