package proxy

import "time"

// Stats is what a proxy has counted since its epoch began, with the proxies from which it
// has taken over. Counters only grow while Epoch stays the same.
type Stats struct {
	// Epoch names the time over which was counted: from the start of a proxy process, or the
	// death of a predecessor, over all takeovers. Another value means that the counters
	// began again at zero.
	Epoch string    `json:"epoch"`
	At    time.Time `json:"at"`
	// Age is how long the epoch had lasted, whatever the machine's time of day was set to
	// meanwhile: in an epoch, what was counted later has a higher one.
	Age time.Duration `json:"age"`
	// Table is the version of the table in force.
	Table uint64 `json:"table"`

	// ConnectionsOpen and ConnectionsAccepted are of clients.
	ConnectionsOpen     int64  `json:"connections_open"`
	ConnectionsAccepted uint64 `json:"connections_accepted"`

	// Unrouted counts requests that no service's hosts and paths took (404),
	// Malformed those that were refused before they could be routed (400, 417,
	// 431, 501, 505). Neither is part of Services.
	Unrouted  uint64 `json:"unrouted"`
	Malformed uint64 `json:"malformed"`
	// LogDropped counts requests that are missing in the access log because
	// its writer was too slow or failed.
	LogDropped uint64 `json:"log_dropped"`

	Services []ServiceStats `json:"services"`
}

// ServiceStats is one service's part.
type ServiceStats struct {
	Name string `json:"name"`
	// Releases has an entry for every release that got a request in this epoch or
	// stands in the table, and one with an empty ID for requests that ended
	// before a release could be chosen.
	Releases []ReleaseStats `json:"releases"`
	// Held counts those that waited in a hold, Queued those that waited for room.
	Held   HeldStats   `json:"held"`
	Queued HeldStats   `json:"queued"`
	Mirror MirrorStats `json:"mirror"`
}

// HeldStats counts requests that were kept waiting, in a hold or in a queue. At any time
//
//	Total = Now + LetGo + Expired + Gone
//
// holds in every snapshot. A request that waits is counted by no release. One that
// was let go is accepted by the release that it goes to, and its latency includes the
// wait; one that ended here, or was refused without a wait, is counted for the empty
// release. One that was in flight, failed, and waits to be sent again has left its
// release as Rerouted; in the rare case that this happens to it once more, it counts
// twice here. In a queue it is the same, but that one which ends here is counted as Shed
// by its release.
type HeldStats struct {
	// Now is how many wait.
	Now int64 `json:"now"`
	// Total counts those that have waited, with those that wait now, LetGo those of
	// them that went on when the hold had ended.
	Total uint64 `json:"total"`
	LetGo uint64 `json:"let_go"`
	// Expired counts those that waited too long. They are part of Failures.Held,
	// of which the rest was refused at once, since there were too many.
	Expired uint64 `json:"expired"`
	// Gone counts those whose client went away, or which were cut at the end of the
	// proxy.
	Gone uint64 `json:"gone"`
	// Longest is the longest wait that has ended, since the hold that is in force
	// or was in force last began.
	Longest time.Duration `json:"longest"`
}

// Minus returns what h counted after earlier, a snapshot of the same service in the
// same epoch. Now and Longest, which are no counts, are those of h.
func (h HeldStats) Minus(earlier HeldStats) HeldStats {
	h.Total -= earlier.Total
	h.LetGo -= earlier.LetGo
	h.Expired -= earlier.Expired
	h.Gone -= earlier.Gone
	return h
}

// MirrorStats counts copies of requests.
type MirrorStats struct {
	// Sent counts copies that were begun, Dropped those that were not because too
	// many were under way.
	Sent    uint64 `json:"sent"`
	Dropped uint64 `json:"dropped"`
	// Failed counts copies that got no whole answer. Same and Different compare the
	// others with the answer of the request itself; what could not be compared is
	// Uncompared: one of the bodies was too long, the request itself got no whole
	// answer, or a table or the end of the proxy broke the copy off. Sent is the sum
	// of the four and of what is under way, which a copy is until both have ended.
	Failed     uint64 `json:"failed"`
	Same       uint64 `json:"same"`
	Different  uint64 `json:"different"`
	Uncompared uint64 `json:"uncompared"`
}

// Ended is how many copies are not under way any more.
func (m MirrorStats) Ended() uint64 { return m.Failed + m.Same + m.Different + m.Uncompared }

// Minus returns what m counted after earlier, a snapshot of the same service in the
// same epoch.
func (m MirrorStats) Minus(earlier MirrorStats) MirrorStats {
	return MirrorStats{
		Sent:       m.Sent - earlier.Sent,
		Dropped:    m.Dropped - earlier.Dropped,
		Failed:     m.Failed - earlier.Failed,
		Same:       m.Same - earlier.Same,
		Different:  m.Different - earlier.Different,
		Uncompared: m.Uncompared - earlier.Uncompared,
	}
}

// ReleaseStats counts the requests of one release. At any time
//
//	Accepted = Answered (sum) + Failed (sum) + ClientGone + Rerouted + Shed + InFlight
//
// holds in every snapshot.
type ReleaseStats struct {
	ID string `json:"id"`
	// Accepted is the number of requests for which this release was chosen.
	Accepted uint64 `json:"accepted"`
	InFlight int64  `json:"in_flight"`
	// Upgraded is how many of those in flight are upgraded connections.
	Upgraded int64 `json:"upgraded"`

	// Answered counts answers of the service that were passed on whole, by
	// the first digit of their status: Answered[2] is 2xx. Answered[1] is 101
	// only, counted when the upgraded connection ends.
	Answered [6]uint64 `json:"answered"`
	// Failed counts requests that got no whole answer of the service.
	Failed Failures `json:"failed"`
	// ClientGone counts requests whose client went away, broke off its body, or
	// neither sent nor took anything for too long, before its answer was
	// complete. A client that has only ended its sending direction gets its answer,
	// unless nothing of that comes for 5 s.
	ClientGone uint64 `json:"client_gone"`
	// Rerouted counts requests that left this release for another, or to wait in a
	// hold, because none of its upstreams could take them.
	Rerouted uint64 `json:"rerouted"`
	// Shed counts requests for which this release had no room, nor the service's queue,
	// or that waited there for too long; answered 503 with Retry-After.
	Shed uint64 `json:"shed,omitempty"`

	// Retried counts attempts after the first, RetryRefused those that were not made at
	// this release because the service's [RetryBudget] was spent; neither is an outcome.
	Retried      uint64 `json:"retried"`
	RetryRefused uint64 `json:"retry_refused,omitempty"`
	// Replayed counts how often an instance of this release has handed an upload back,
	// which is no outcome either. The attempt that follows is one of those Retried.
	Replayed uint64 `json:"replayed,omitempty"`

	// Drained counts the endings of requests that were in flight when a drain of the release
	// began, or the end of their proxy, whether it was replaced or shut down. All that
	// is Failed.Cut is cut here:
	//
	//	Failed.Cut = Drained.Sum().Cut
	//
	// holds in every snapshot. Those that were told and went are Answered[1] or ClientGone.
	Drained Endings `json:"drained,omitzero"`
	// Departed counts those of Drained whose proxy ended.
	Departed Endings `json:"departed,omitzero"`

	// Latency is from the request's head to the end of the answer, for Answered
	// without 101.
	Latency Histogram `json:"latency"`

	// Scores are there while the table has a [Scoring], for each weight under which
	// there was one.
	Scores []Score `json:"scores,omitempty"`

	Upstreams []UpstreamStats `json:"upstreams"`
}

// Failures counts requests that got no whole answer, by cause.
type Failures struct {
	// Unavailable: no upstream to choose from; answered 503 by the proxy.
	Unavailable uint64 `json:"unavailable"`
	// Connect: no connection to any upstream; answered 502.
	Connect uint64 `json:"connect"`
	// Broken: the upstream broke off, or answered nonsense, before its answer
	// began, and the request could not be sent again safely; answered 502.
	Broken uint64 `json:"broken"`
	// Timeout: no answer began in time; answered 504.
	Timeout uint64 `json:"timeout"`
	// Truncated: the answer broke off in the middle; the client's connection
	// was broken, too, so that it can tell.
	Truncated uint64 `json:"truncated"`
	// Cut: still in flight at the drain's deadline, or shortly before when it had no
	// end of its own.
	Cut uint64 `json:"cut"`
	// Held: kept waiting for too long, or more than a hold may keep; answered 503
	// with Retry-After. It is counted for the empty release.
	Held uint64 `json:"held,omitempty"`
}

// Sum is the number of all failures.
func (f Failures) Sum() uint64 {
	return f.Unavailable + f.Connect + f.Broken + f.Timeout + f.Truncated + f.Cut + f.Held
}

// Plus returns the sums of f and o.
func (f Failures) Plus(o Failures) Failures {
	return Failures{
		Unavailable: f.Unavailable + o.Unavailable,
		Connect:     f.Connect + o.Connect,
		Broken:      f.Broken + o.Broken,
		Timeout:     f.Timeout + o.Timeout,
		Truncated:   f.Truncated + o.Truncated,
		Cut:         f.Cut + o.Cut,
		Held:        f.Held + o.Held,
	}
}

// Minus returns what was added to earlier to get f.
func (f Failures) Minus(earlier Failures) Failures {
	return Failures{
		Unavailable: f.Unavailable - earlier.Unavailable,
		Connect:     f.Connect - earlier.Connect,
		Broken:      f.Broken - earlier.Broken,
		Timeout:     f.Timeout - earlier.Timeout,
		Truncated:   f.Truncated - earlier.Truncated,
		Cut:         f.Cut - earlier.Cut,
		Held:        f.Held - earlier.Held,
	}
}

// Minus returns what r counted after earlier, a snapshot of the same release in
// the same epoch. InFlight, Upgraded and Upstreams, which are states and no
// counts, are those of r.
func (r ReleaseStats) Minus(earlier ReleaseStats) ReleaseStats {
	r.Accepted -= earlier.Accepted
	for i, n := range earlier.Answered {
		r.Answered[i] -= n
	}
	r.Failed = r.Failed.Minus(earlier.Failed)
	r.ClientGone -= earlier.ClientGone
	r.Rerouted -= earlier.Rerouted
	r.Shed -= earlier.Shed
	r.Retried -= earlier.Retried
	r.RetryRefused -= earlier.RetryRefused
	r.Replayed -= earlier.Replayed
	r.Drained = r.Drained.Minus(earlier.Drained)
	r.Departed = r.Departed.Minus(earlier.Departed)
	r.Latency = r.Latency.Minus(earlier.Latency)
	r.Scores = MinusScores(r.Scores, earlier.Scores)
	return r
}

// UpstreamStats is one upstream's state.
type UpstreamStats struct {
	ID       string `json:"id"`
	Healthy  bool   `json:"healthy"`
	InFlight int64  `json:"in_flight"`
	// Message says why it is not healthy.
	Message string `json:"message,omitempty"`
}
