package proxy

import (
	"sync/atomic"
	"time"
)

const (
	// maxSessions is how many clients of a service are known at a time, and probes how
	// many places are looked at for one. Each place takes 16 bytes.
	maxSessions = 1 << 16
	probes      = 16
)

// sessions are the clients of a service that were counted under one ID of its [Scoring]:
// each counts once. All loops share them. When there is no place left for a client, it
// isn't counted, which doesn't depend on what becomes of its requests.
type sessions struct {
	id     string
	places [maxSessions]session
}

// session is one client, known by a number that is drawn from its token.
type session struct {
	key atomic.Uint64
	// state is made of when it was first seen, in nanoseconds of the proxy's own clock, the
	// weight of then, and whether a request of it has failed.
	state atomic.Uint64
}

const (
	sessionFailed = 1
	weightShift   = 1
	weightMask    = 0x7f
	timeShift     = 8
)

// sessionsFor returns those of a service, or nil if it needs none.
func (s *shared) sessionsFor(of Service) *sessions {
	if of.Scoring == nil || of.Sticky == nil {
		delete(s.sessions, of.Name)
		return nil
	}
	if now := s.sessions[of.Name]; now == nil || now.id != of.Scoring.ID {
		s.sessions[of.Name] = &sessions{id: of.Scoring.ID}
	}
	return s.sessions[of.Name]
}

// join returns the place of a client, and whether it wasn't seen before; -1 when there is
// no place.
func (s *sessions) join(key uint64, weight int, now time.Duration) (at int, first bool) {
	for i := range uint64(probes) {
		at := (key + i) % maxSessions
		p := &s.places[at]
		if p.key.Load() == 0 && p.key.CompareAndSwap(0, key) {
			p.state.Store(uint64(now)<<timeShift | uint64(weight)<<weightShift)
			return int(at), true
		}
		if p.key.Load() == key {
			return int(at), false
		}
	}
	return -1, false
}

// fail notes that a request of a client has failed, which was drawn by a weight. It returns
// when the client was first seen, and whether this is to be counted: the first failure of
// one that isn't mature yet, and is still under the weight under which it is counted.
func (s *sessions) fail(at, weight int, now, maturity time.Duration) (since time.Duration, first bool) {
	p := &s.places[at]
	state := p.state.Load()
	since = time.Duration(state >> timeShift)
	if state == 0 || state&sessionFailed != 0 || int(state>>weightShift&weightMask) != weight || now-since >= maturity {
		return since, false
	}
	return since, p.state.CompareAndSwap(state, state|sessionFailed)
}
