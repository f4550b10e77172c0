package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/proxy/h1"
)

// Scoring has the requests of a service scored, so that an analysis can compare its
// releases: those that a draw by weight, or by [Sticky], has brought to their release. The
// others, which a rule chose or no release could take, say nothing about it.
type Scoring struct {
	// ID names what the scores are for. With another one they begin anew.
	ID string `json:"id"`
	// Maturity is the age at which a request is scored. One that is answered before that
	// says no more about its release than one that hangs: if requests were scored as they
	// end, a release that fails late would look like a good one.
	Maturity time.Duration `json:"maturity"`
	// Failing says which answers are failures. A request that its release didn't answer
	// whole is one in any case, but for those whose client had gone, and those that were
	// cut.
	Failing Failing `json:"failing,omitzero"`
}

// Failing says which answers are failures: each of its fields on its own.
type Failing struct {
	// Status are those of the answers that are.
	Status []StatusRange `json:"status,omitempty"`
	// Header is a field of the answer, and Value what it is then; empty is anything.
	Header string `json:"header,omitempty"`
	Value  string `json:"value,omitempty"`
	// GRPC are the codes of gRPC (its "Status codes and their use"), of answers that have
	// one.
	GRPC []int `json:"grpc,omitempty"`
	// Slower is how long an answer may take; 0 is any time.
	Slower time.Duration `json:"slower,omitempty"`
}

// StatusRange is from one status to another, both of them in it.
type StatusRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Score counts the requests of one release that were scored: each at its maturity, under
// the weight that it was drawn by. With [Sticky], clients are counted rather than requests,
// since what one of them gets is no proof that is independent of what it got before: each
// once under one ID, with its first request, and as failed if any of its requests failed
// until it was as old as that. What isn't mature yet isn't counted.
type Score struct {
	// ID is that of the Scoring, Weight that of the candidate, in percent.
	ID     string `json:"id"`
	Weight int    `json:"weight"`
	// Requests counts all, Failed those of them that failed.
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
	// Latency is from the draw to the end, of those that had ended by then; the others
	// are slower.
	Latency Histogram `json:"latency"`
	// Clients are two of the clients whose requests failed, as far as there are, by
	// numbers which stand for their addresses.
	Clients []uint64 `json:"clients,omitempty"`
}

// Late is how many weren't over at their maturity.
func (s Score) Late() uint64 { return s.Requests - min(s.Requests, s.Latency.Count()) }

// maxClients is how many clients a Score names.
const maxClients = 2

// addClient notes a client, if there is room for another one.
func (s *Score) addClient(client uint64) {
	if client != 0 && len(s.Clients) < maxClients && !slices.Contains(s.Clients, client) {
		s.Clients = append(slices.Clip(s.Clients), client)
	}
}

// plus returns the sums of two scores of the same ID, release and weight.
func (s Score) plus(o Score) Score {
	s.Requests += o.Requests
	s.Failed += o.Failed
	s.Latency = s.Latency.Plus(o.Latency)
	for _, client := range o.Clients {
		s.addClient(client)
	}
	return s
}

// minus returns what s counted after earlier, a snapshot of the same score.
func (s Score) minus(earlier Score) Score {
	s.Requests -= earlier.Requests
	s.Failed -= earlier.Failed
	s.Latency = s.Latency.Minus(earlier.Latency)
	return s
}

func compareScores(a, b Score) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Weight, b.Weight))
}

// PlusScores returns the sums of the scores of two releases, or of two times, in order.
func PlusScores(a, b []Score) []Score { return join(a, b, compareScores, Score.plus) }

// MinusScores returns what each of s counted after earlier, in the order of s.
func MinusScores(s, earlier []Score) []Score {
	var all []Score
	for _, score := range s {
		if i := slices.IndexFunc(earlier, func(e Score) bool { return compareScores(score, e) == 0 }); i >= 0 {
			score = score.minus(earlier[i])
		}
		all = append(all, score)
	}
	return all
}

func (s *Scoring) validate() error {
	switch {
	case s == nil:
		return nil
	case s.ID == "":
		return errors.New("its ID is empty")
	case s.Maturity <= 0:
		return fmt.Errorf("its maturity is %s, want more than 0", s.Maturity)
	}
	for _, r := range s.Failing.Status {
		if r.From < 100 || r.To < r.From || r.To > 599 {
			return fmt.Errorf("the statuses from %d to %d: want two of 100 to 599, the lower one first", r.From, r.To)
		}
	}
	if s.Failing.Header != "" {
		return validateToken("header", s.Failing.Header)
	}
	return nil
}

// field reports whether a field makes an answer a failure.
func (f *Failing) field(name, value string) bool {
	return f.Header != "" && strings.EqualFold(f.Header, name) && (f.Value == "" || f.Value == value)
}

// status reports whether an answer with this one is.
func (f *Failing) status(status int) bool {
	return slices.ContainsFunc(f.Status, func(r StatusRange) bool { return r.From <= status && status <= r.To })
}

// scored is what a flight is scored by; the zero value isn't.
type scored struct {
	// scoring is the service's when the flight was drawn. card is its release's, and
	// nil when the flight has been scored, or isn't.
	scoring *scoring
	card    *card
	// at is when that was, on the proxy's own clock.
	at time.Duration
	// counts is set when the flight stands for a request of its own, or a client's first.
	// session is that client in the scoring's sessions, if counts is of one; -1 is none.
	counts  bool
	session int
	// failing is set when the answer is known to be a failure.
	failing bool
}

// drawn begins to score a flight that was drawn to r, which it returns. The fallback, and
// nil, aren't drawn, nor is one that goes on to another release.
func (s *service) drawn(f *flight, r *release) *release {
	if s.scoring == nil || !s.scoring.divides() || f.scored.scoring != nil || len(f.left) > 0 || r == nil || r.weight == 0 {
		return r
	}
	now := f.loop.p.clock()
	f.scored = scored{scoring: s.scoring, card: r.card, at: now, counts: true, session: -1}
	if f.session != 0 {
		f.scored.session, f.scored.counts = s.scoring.sessions.join(f.session, s.scoring.weight, now)
	}
	if f.scored.counts {
		r.card.cohortAt(now).requests++
	} else if f.scored.session < 0 {
		f.scored.card = nil
	}
	return r
}

// answered looks at the head of an answer that is about to be passed on.
func (f *flight) answered(status int, head *h1.Head) {
	s := f.scored.scoring
	if s == nil {
		return
	}
	f.scored.failing = s.Failing.status(status)
	for i := range head.Fields {
		field := &head.Fields[i]
		if s.Failing.field(h1.String(head.Name(field)), h1.String(head.Value(field))) {
			f.scored.failing = true
		}
	}
}

// answeredWhole looks at an answer that net/http has read, and that has been passed on.
func (f *flight) answeredWhole(resp *http.Response) {
	if s := f.scored.scoring; s != nil {
		f.scored.failing = s.Failing.Failed(resp)
	}
}

// Failed reports whether an answer is a failure, whose body has been read; how long it took
// is left to the caller.
func (f *Failing) Failed(resp *http.Response) bool {
	if f.status(resp.StatusCode) {
		return true
	}
	for name, values := range resp.Header {
		if slices.ContainsFunc(values, func(value string) bool { return f.field(name, value) }) {
			return true
		}
	}
	code, err := strconv.Atoi(cmp.Or(resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status")))
	return err == nil && slices.Contains(f.GRPC, code)
}

// score scores a flight that has ended, if nobody has before.
func (f *flight) score(o outcome) {
	d := &f.scored
	c, s := d.card, d.scoring
	if c == nil {
		return
	}
	d.card = nil
	now := f.loop.p.clock()
	took := now - d.at
	if d.counts && took < s.Maturity {
		c.cohortAt(d.at).latency.Observe(took)
	}
	failed := o.fails() || o == answered && (d.failing || s.Failing.Slower > 0 && took > s.Failing.Slower)
	if !failed {
		return
	}
	first := took < s.Maturity
	since := d.at
	if d.session >= 0 {
		since, first = s.sessions.fail(d.session, s.weight, now, s.Maturity)
	}
	if first {
		c.cohortAt(since).fail(f.clientNumber())
	}
}

// clientNumber stands for the address of a request's client, as far as it is known; 0 is
// none. Through a trusted proxy it is the one that this has heard of first.
func (f *flight) clientNumber() uint64 {
	if f.origin == nil {
		return 0
	}
	address := f.origin.ip
	if f.origin.trusted && f.head != nil {
		if list, found := f.head.Get(h1.ForwardedFor); found {
			first, _, _ := strings.Cut(h1.String(list), ",")
			address = strings.TrimSpace(first)
		}
	}
	if address == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(address)) // which never fails
	return h.Sum64() | 1
}

// fails says whether it is the release's fault that a request got no whole answer.
func (o outcome) fails() bool {
	switch o {
	case unavailable, connectFailed, broken, timedOut, truncated, shed:
		return true
	}
	return false
}

// scoring is a service's in one table.
type scoring struct {
	Scoring
	// weight is the candidate's.
	weight   int
	sessions *sessions
}

// newScoring returns nil when there is no candidate to compare with anything.
func newScoring(s Service, candidate *release, all *sessions) *scoring {
	if s.Scoring == nil || candidate == nil {
		return nil
	}
	return &scoring{*s.Scoring, candidate.weight, all}
}

// scores returns the service's scoring, or nil; s may be nil.
func (s *service) scores() *scoring {
	if s == nil {
		return nil
	}
	return s.scoring
}

// divides says whether requests are drawn to more than one release.
func (s *scoring) divides() bool { return 0 < s.weight && s.weight < 100 }
