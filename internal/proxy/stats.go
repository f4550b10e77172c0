package proxy

import "time"

// Stats is what a proxy process has counted since it started. Counters only
// grow while Epoch stays the same.
type Stats struct {
	// Epoch names this run of the proxy process; another value means that the
	// counters began again at zero.
	Epoch string    `json:"epoch"`
	At    time.Time `json:"at"`
	// Table is the version of the table in force.
	Table uint64 `json:"table"`

	// ConnectionsOpen and ConnectionsAccepted are of clients.
	ConnectionsOpen     int64  `json:"connections_open"`
	ConnectionsAccepted uint64 `json:"connections_accepted"`

	// Unrouted counts requests that no service's hosts and paths took (404),
	// Malformed those that were refused before they could be routed (400, 405
	// for CONNECT, 417, 431, 501, 505). Neither is part of Services.
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
}

// ReleaseStats counts the requests of one release. At any time
//
//	Accepted = Answered (sum) + Failed (sum) + ClientGone + Rerouted + InFlight
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
	// ClientGone counts requests whose client went away (to end the sending
	// direction of the connection is to go away), broke off its body, or
	// neither sent nor took anything for too long, before its answer was
	// complete.
	ClientGone uint64 `json:"client_gone"`
	// Rerouted counts requests that left this release for another because
	// none of its upstreams could take them.
	Rerouted uint64 `json:"rerouted"`

	// Retried counts attempts after the first; it is no outcome.
	Retried uint64 `json:"retried"`

	// Latency is from the request's head to the end of the answer, for Answered
	// without 101.
	Latency Histogram `json:"latency"`

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
	// Cut: still in flight at the drain deadline.
	Cut uint64 `json:"cut"`
}

// Sum is the number of all failures.
func (f Failures) Sum() uint64 {
	return f.Unavailable + f.Connect + f.Broken + f.Timeout + f.Truncated + f.Cut
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
	r.Retried -= earlier.Retried
	r.Latency = r.Latency.Minus(earlier.Latency)
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
