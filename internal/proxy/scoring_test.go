package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// ripe is a maturity that a test can wait for, and that answers from memory stay below.
const ripe = 400 * time.Millisecond

func scoredCanary(weight int, stable, candidate Upstream) Service {
	s := canary(weight, stable, candidate)
	s.Scoring = &Scoring{ID: "d1", Maturity: time.Minute, Failing: Failing{Status: []StatusRange{{500, 599}}}}
	return s
}

// soFar returns the scores of a release of "web" with what isn't mature yet, after all is
// settled; "" is all releases.
func (r *running) soFar(release string) []Score {
	r.t.Helper()
	r.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum ReleaseStats
	for _, l := range r.loops {
		l.mu.Lock()
		for key, a := range l.registry.accounts {
			if release == "" || release == key.release {
				sum = sum.plus(a.snapshot(1 << 60))
			}
		}
		l.mu.Unlock()
	}
	return sum.Scores
}

// scored waits until some requests are scored, and returns the sum of the scores.
func (r *running) scored(want uint64) (sum Score) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d requests are scored", want), func() bool {
		sum = Score{}
		for _, rel := range serviceStats(r.stats(), "web").Releases {
			sum = sum.plus(total(rel.Scores))
		}
		return sum.Requests == want
	})
	return sum
}

func total(scores []Score) Score {
	var sum Score
	for _, s := range scores {
		sum = sum.plus(s)
	}
	return sum
}

func failing(t *testing.T, status int) Upstream {
	return handled(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func TestScores(t *testing.T) {
	const n = 200
	p := start(t, Config{}, scoredCanary(40, saying(t, "fine"), failing(t, 500)))
	for range n {
		p.do("GET", "/", "")
	}
	for id, failed := range map[string]bool{"r1": false, "r2": true} {
		scores, accepted := p.soFar(id), p.release(id).Accepted
		if len(scores) != 1 {
			t.Fatalf("%s has the scores %+v", id, scores)
		}
		want := Score{ID: "d1", Weight: 40, Requests: accepted}
		if failed {
			want.Failed = accepted
		}
		score := scores[0]
		if score.ID != want.ID || score.Weight != want.Weight || score.Requests != want.Requests || score.Failed != want.Failed || score.Late() != 0 || len(score.Clients) > 1 || (len(score.Clients) == 1) != failed {
			t.Errorf("%s has the score %+v, want %+v", id, score, want)
		}
	}
}

// Each request is judged by how it was at its maturity.
func TestScoresAtMaturity(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	slow := handled(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
		w.WriteHeader(500)
	})
	s := scoredCanary(99, slow, slow)
	s.Scoring.Maturity = ripe
	p := start(t, Config{}, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.do("GET", "/", "")
	}()
	await(t, "the request is there", asked)
	if s := p.scored(1); s.Failed != 0 || s.Late() != 1 {
		t.Errorf("one that has not ended has the score %+v", s)
	}
	close(answer)
	await(t, "the answer", done)
	p.settle()
	if s := p.scored(1); s.Failed != 0 || s.Latency.Count() != 0 {
		t.Errorf("what came later counts: %+v", s)
	}
}

// A request counts under the weight by which it was drawn.
func TestScoresByWeight(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			asked <- struct{}{}
			<-answer
		}
		w.WriteHeader(503)
	})
	p := start(t, Config{}, scoredCanary(10, up, up))
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.do("GET", "/wait", "")
	}()
	await(t, "the request is there", asked)
	p.apply(2, scoredCanary(50, up, up))
	p.do("GET", "/", "")
	close(answer)
	await(t, "the answer", done)
	p.do("GET", "/", "")
	for _, s := range p.soFar("") {
		want := map[int]uint64{10: 1, 50: 2}[s.Weight]
		if s.Requests > want || s.Failed != s.Requests {
			t.Errorf("the weight %d has the score %+v", s.Weight, s)
		}
	}
	// All traffic at one release is no comparison, but what was compared stays known.
	p.apply(3, scoredCanary(100, up, up))
	p.do("GET", "/", "")
	if s := total(p.soFar("")); s.Failed != 3 {
		t.Errorf("after the last shift %+v", s)
	}
	other := scoredCanary(50, up, up)
	other.Scoring.ID = "d2"
	p.apply(4, other)
	if s := total(p.soFar("")); s.Requests != 0 {
		t.Errorf("another ID begins with %+v", s)
	}
	p.apply(5, canary(50, up, up))
	p.do("GET", "/", "")
	if all := p.soFar(""); len(all) > 0 {
		t.Errorf("without scoring there are %+v", all)
	}
}

// What no draw has brought to a release says nothing about it.
func TestOnlyDrawsAreScored(t *testing.T) {
	s := scoredCanary(99, saying(t, "fine"), refusing(t))
	s.Match = []Match{{Header: "X-Try"}}
	s.Fallback = "r1"
	p := start(t, Config{}, s)
	for range 5 {
		p.do("GET", "/", "", "X-Try", "yes")
	}
	p.do("GET", "/", "")
	if a, b := total(p.soFar("r1")), total(p.soFar("r2")); a.Requests+b.Requests != 1 || b.Failed != b.Requests || a.Failed != 0 {
		t.Errorf("one that stable had to answer has the scores %+v and %+v", a, b)
	}
}

// Of a client that keeps to a release, all requests together count once.
func TestClientsAreScored(t *testing.T) {
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	})
	s := scoredCanary(50, up, up)
	s.Sticky = &Sticky{Header: "X-User"}
	p := start(t, Config{}, s)
	const clients = 20
	for n := range clients {
		for _, path := range []string{"/", "/", "/bad", "/bad", "/"}[:3+n%3] {
			if n >= clients/2 {
				path = "/"
			}
			p.do("GET", path, "", "X-User", fmt.Sprint("client ", n))
		}
	}
	sum := total(p.soFar(""))
	if sum.Requests != clients || sum.Failed != clients/2 || sum.Late() != 0 {
		t.Errorf("the score is %+v, want %d failed of %d", sum, clients/2, clients)
	}
	// Those who are known are counted no more, and fail once.
	for n := range clients {
		p.do("GET", "/bad", "", "X-User", fmt.Sprint("client ", n))
	}
	p.do("GET", "/bad", "") // one without a name counts for itself
	if again := total(p.soFar("")); again.Requests != clients+1 || again.Failed != clients+1 {
		t.Errorf("later the score is %+v", again)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := &sessions{}
	in := 0
	for n := range uint64(2 * maxSessions) {
		if at, first := s.join(n*0x9E3779B97F4A7C15|1, 5, time.Second); first {
			in++
		} else if at >= 0 {
			t.Fatalf("client %d is known", n)
		}
	}
	if in < maxSessions*9/10 || in > maxSessions {
		t.Errorf("%d clients found a place of %d", in, maxSessions)
	}
}

func TestSessionsFailOnce(t *testing.T) {
	s := &sessions{}
	at, _ := s.join(7, 5, time.Second)
	if _, first := s.fail(at, 25, time.Second, time.Minute); first {
		t.Error("a failure under another weight counts")
	}
	if _, first := s.fail(at, 5, time.Second+time.Minute, time.Minute); first {
		t.Error("one of later counts")
	}
	if since, first := s.fail(at, 5, 2*time.Second, time.Minute); !first || since != time.Second {
		t.Errorf("the first failure: %s, %t", since, first)
	}
	if _, first := s.fail(at, 5, 2*time.Second, time.Minute); first {
		t.Error("the second failure counts")
	}
}

func TestFailing(t *testing.T) {
	reply := func(status int, fields ...string) Upstream {
		return handled(t, func(w http.ResponseWriter, _ *http.Request) {
			for _, f := range fields {
				name, value, _ := strings.Cut(f, ": ")
				w.Header().Add(name, value)
			}
			w.WriteHeader(status)
		})
	}
	slow := handled(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
		}
	})
	for _, c := range []struct {
		name string
		Failing
		up   Upstream
		want bool
	}{
		{"500", Failing{Status: []StatusRange{{500, 599}}}, reply(500), true},
		{"nothing", Failing{}, reply(500), false},
		{"499", Failing{Status: []StatusRange{{500, 599}}}, reply(499), false},
		{"statuses", Failing{Status: []StatusRange{{404, 404}, {500, 502}}}, reply(404), true},
		{"other status", Failing{Status: []StatusRange{{404, 404}, {500, 502}}}, reply(503), false},
		{"field", Failing{Header: "x-failed"}, reply(200, "X-Failed: no"), true},
		{"value", Failing{Header: "X-Failed", Value: "yes"}, reply(200, "X-Failed: no", "X-Failed: yes"), true},
		{"other value", Failing{Header: "X-Failed", Value: "yes"}, reply(200, "X-Failed: no"), false},
		{"field or status", Failing{Header: "X-Failed", Status: []StatusRange{{500, 599}}}, reply(500), true},
		{"slow", Failing{Slower: 10 * time.Millisecond}, slow, true},
		{"not slow", Failing{Slower: time.Minute}, slow, false},
		{"refuses", Failing{Status: []StatusRange{{404, 404}}}, refusing(t), true},
	} {
		for _, door := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, door %t", c.name, door), func(t *testing.T) {
				t.Parallel()
				s := scoredCanary(50, c.up, c.up)
				s.Scoring.Failing = c.Failing
				p := start(t, Config{}, s)
				if door {
					p.http = p.clientOf(true)
				}
				p.do("GET", "/", "")
				if s := total(p.soFar("")); s.Requests != 1 || (s.Failed == 1) != c.want {
					t.Errorf("the score is %+v", s)
				}
			})
		}
	}
}

func TestFailingGRPC(t *testing.T) {
	up, _ := grpcUpstream(t, "r1")
	s := scoredCanary(50, up, up)
	s.Scoring.Failing.GRPC = []int{int(codes.Internal)}
	p := start(t, Config{}, s)
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, code := range []codes.Code{codes.OK, codes.NotFound, codes.Internal} {
		_, err := testpb.NewTestServiceClient(conn).UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(code)}})
		if (err == nil) != (code == codes.OK) {
			t.Error(err)
		}
	}
	if s := total(p.soFar("")); s.Requests != 3 || s.Failed != 1 {
		t.Errorf("the score is %+v", s)
	}
}

func TestScoringIsValidated(t *testing.T) {
	for want, s := range map[string]Scoring{
		"its ID is empty":          {Maturity: 1},
		"its maturity is 0s":       {ID: "d1"},
		"the statuses from 5 to 6": {ID: "d1", Maturity: 1, Failing: Failing{Status: []StatusRange{{5, 6}}}},
		"the statuses from 9 to 6": {ID: "d1", Maturity: 1, Failing: Failing{Status: []StatusRange{{9, 6}}}},
		"header \"a b\"":           {ID: "d1", Maturity: 1, Failing: Failing{Header: "a b"}},
	} {
		svc := canary(50, at("127.0.0.1:1"), at("127.0.0.1:2"))
		svc.Scoring = &s
		err := Table{Version: 1, Services: []Service{svc}}.Validate()
		if err == nil || !strings.Contains(err.Error(), "scoring: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}

// A card counts each request once, however often it is read, and whenever.
func TestCard(t *testing.T) {
	c := newCard(&scoring{Scoring: Scoring{ID: "d1", Maturity: 8 * time.Second}, weight: 5})
	for n := range 1000 {
		now := time.Duration(n) * 100 * time.Millisecond
		cohort := c.cohortAt(now)
		cohort.requests++
		if n%2 == 0 {
			cohort.fail(uint64(n%6 + 1))
		}
		if n%7 > 0 {
			continue
		}
		s := c.snapshot(now)
		// Ten come in a second, which is a cohort.
		if want := uint64(max(0, now/time.Second-8) * 10); s.Requests != want || s.Failed != want/2 {
			t.Fatalf("at %s the score is %+v, want %d", now, s, want)
		}
	}
	if s := c.snapshot(time.Hour); s.Requests != 1000 || s.Failed != 500 || !slices.Equal(s.Clients, []uint64{1, 3}) {
		t.Errorf("at the end the score is %+v", s)
	}
}

func TestScoresOverATakeover(t *testing.T) {
	before := []Score{{ID: "d1", Weight: 5, Requests: 3, Failed: 1, Clients: []uint64{1}}}
	after := []Score{{ID: "d1", Weight: 5, Requests: 4, Failed: 2, Clients: []uint64{1, 2}}, {ID: "d1", Weight: 25, Requests: 1}}
	sum := ReleaseStats{Scores: before}.plus(ReleaseStats{Scores: after})
	if len(sum.Scores) != 2 || sum.Scores[0].Requests != 7 || sum.Scores[0].Failed != 3 || len(sum.Scores[0].Clients) != 2 || sum.Scores[1].Requests != 1 {
		t.Errorf("the sum is %+v", sum.Scores)
	}
	rest := sum.Minus(ReleaseStats{Scores: before})
	if len(rest.Scores) != 2 || rest.Scores[0].Requests != 4 || rest.Scores[0].Failed != 2 || rest.Scores[1].Requests != 1 {
		t.Errorf("the rest is %+v", rest.Scores)
	}
}

// A request that was drawn by its client, before anything was scored, and waits in a queue
// for another table, by which clients are nothing and requests are scored, is scored for
// itself.
func TestScoredAfterStickiness(t *testing.T) {
	busy, goOn := make(chan struct{}, 2), make(chan struct{})
	up := handled(t, func(w http.ResponseWriter, r *http.Request) {
		busy <- struct{}{}
		<-goOn
	})
	sticky := limited(1, 2, patience, canary(50, up, up).Releases...)
	sticky.Candidate, sticky.Sticky = "r2", &Sticky{Header: "X-User"}
	p := start(t, Config{}, sticky)
	var all sync.WaitGroup
	ask := func() {
		all.Go(func() {
			if resp, text, err := p.try("GET", "/", "", "X-User", "ann"); err != nil || resp.StatusCode != 200 {
				t.Errorf("%v, %s, %v", resp, text, err)
			}
		})
	}
	ask()
	await(t, "the first is at its instance", busy)
	ask()
	eventually(t, "the second waits", func() bool { return serviceStats(p.stats(), "web").Queued.Now == 1 })
	applied := make(chan error, 1)
	// Beside, since what goes wrong here leaves the loop's lock behind.
	go func() {
		applied <- p.Apply(context.Background(), Table{Version: 2, Services: []Service{scoredCanary(50, up, up)}})
	}()
	if err := await(t, "the table is in force", applied); err != nil {
		t.Fatal(err)
	}
	await(t, "the second is at its instance", busy)
	close(goOn)
	all.Wait()
	if s := total(p.soFar("")); s.Requests != 1 || s.Failed != 0 {
		t.Errorf("the score is %+v, want that of one request", s)
	}
}
