package proxy

import (
	"slices"
	"time"
)

const (
	// cohortsPerMaturity is how finely the requests of a card are divided by their time,
	// and spareCohorts how many cohorts there are beyond those that wait for their
	// maturity, so that loops which are read one after the other agree on what is mature.
	cohortsPerMaturity = 8
	spareCohorts       = 8
	// minCohort is the shortest time of a cohort.
	minCohort = 50 * time.Millisecond
)

// card has the scores of one release in one loop, under one weight of the candidate. The
// loop's lock guards it.
type card struct {
	score   Score
	width   time.Duration
	mature  time.Duration
	cohorts []cohort
}

// cohort are the requests that came in one span of time, which is a multiple of the card's
// width since the proxy's start. They are scored together, when the last of them has
// its maturity; what has come of each of them after its own isn't looked at.
type cohort struct {
	number   int64
	requests uint64
	failed   uint64
	latency  Histogram
	clients  []uint64
}

func newCard(s *scoring) *card {
	width := max(s.Maturity/cohortsPerMaturity, minCohort)
	return &card{
		score:   Score{ID: s.ID, Weight: s.weight},
		width:   width,
		mature:  s.Maturity,
		cohorts: make([]cohort, int(s.Maturity/width)+1+spareCohorts),
	}
}

// cohortAt returns the one of a time that is no longer ago than the maturity. Whoever was
// in its place was mature long ago.
func (c *card) cohortAt(t time.Duration) *cohort {
	number := int64(t / c.width)
	at := &c.cohorts[number%int64(len(c.cohorts))]
	if at.number != number {
		c.settle(at)
		at.number = number
	}
	return at
}

// settle adds a cohort to the score.
func (c *card) settle(of *cohort) {
	c.score.Requests += of.requests
	c.score.Failed += of.failed
	for _, client := range of.clients {
		c.score.addClient(client)
	}
	if of.latency.Count() > 0 {
		c.score.Latency.add(of.latency)
		of.latency.reset()
	}
	of.requests, of.failed, of.clients = 0, 0, of.clients[:0]
}

// snapshot returns the score of now.
func (c *card) snapshot(now time.Duration) Score {
	for i := range c.cohorts {
		at := &c.cohorts[i]
		if end := time.Duration(at.number+1) * c.width; now >= end+c.mature {
			c.settle(at)
		}
	}
	s := c.score
	s.Latency = s.Latency.clone()
	s.Clients = slices.Clone(s.Clients)
	return s
}

// fail counts a failure, with the number of its client; 0 is none.
func (c *cohort) fail(client uint64) {
	c.failed++
	if client != 0 && len(c.clients) < maxClients && !slices.Contains(c.clients, client) {
		c.clients = append(c.clients, client)
	}
}

// keepCards forgets the cards that aren't for a scoring; nil is none.
func (a *account) keepCards(s *scoring) {
	a.cards = slices.DeleteFunc(a.cards, func(c *card) bool {
		return s == nil || c.score.ID != s.ID || c.mature != s.Maturity
	})
}

// cardFor returns the card of a scoring.
func (a *account) cardFor(s *scoring) *card {
	a.keepCards(s)
	for _, c := range a.cards {
		if c.score.Weight == s.weight {
			return c
		}
	}
	c := newCard(s)
	a.cards = append(a.cards, c)
	return c
}
