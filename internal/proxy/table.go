package proxy

import (
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// Table says where requests go. It is immutable: a change is a new table with a
// higher version, put in force as a whole by [Proxy.Apply].
type Table struct {
	Version  uint64    `json:"version"`
	Services []Service `json:"services"`
}

// Service is one service's part of a table.
type Service struct {
	Name string `json:"name"`
	// Hosts are the host names that lead to the service, without port:
	// "example.com", or "*.example.com" for every name below it. None leads
	// every host here that no other service names.
	Hosts []string `json:"hosts,omitempty"`
	// Paths are prefixes of whole path segments: "/api" takes "/api" and
	// "/api/x", not "/apix". None is "/". They are compared with the decoded
	// path of the request; dot segments are left as they are.
	//
	// Of several services the exact host wins over the wildcard, the longer
	// wildcard over the shorter, any host over none, and then the longest path.
	// The host decides first: when no path of the services that name it takes
	// the request, it is unrouted, even if a service without hosts would. No
	// two services may claim the same host and path.
	Paths []string `json:"paths,omitempty"`

	// Releases are those that run. At least one has a weight above 0 when
	// requests can be answered at all; a release with weight 0 (warm, or a
	// candidate before its shift) gets no new request but those that Match
	// chooses, and those for which it is the fallback.
	Releases []Release `json:"releases"`

	// Fallback is the release that takes a request which those with a weight can't
	// take, as none of their upstreams answers; empty when there is none. It may have the weight 0, and gets requests all the same: to drain it, put
	// a table without it in force first.
	Fallback string `json:"fallback,omitempty"`

	// Candidate is the release that Match, Sticky and Mirror are about; empty when
	// there is none, and then they do nothing.
	Candidate string `json:"candidate,omitempty"`
	// Match are rules of which one is enough for a request to go to the candidate
	// whatever the weights. A rule's host leads to the service as Hosts do.
	Match []Match `json:"match,omitempty"`
	// Sticky has each client keep to one release as long as the weights divide the
	// requests between the candidate and another: a higher weight of the candidate
	// only moves clients to it, a lower one only away.
	Sticky *Sticky `json:"sticky,omitempty"`
	// Scoring has requests scored, to compare the candidate with the others.
	Scoring *Scoring `json:"scoring,omitempty"`
	// Mirror has copies of requests go to the candidate.
	Mirror *Mirror `json:"mirror,omitempty"`
	// Hold keeps new requests waiting.
	Hold *Hold `json:"hold,omitempty"`
	// Queue has requests wait that find no room; nil has them shed at once.
	Queue *Queue `json:"queue,omitempty"`
	// RetryBudget bounds what retries add to the load; nil is no bound.
	RetryBudget *RetryBudget `json:"retry_budget,omitempty"`
}

// Match is a rule on one thing that a request carries: exactly one of Header,
// Cookie, Query and Host is set.
type Match struct {
	Header string `json:"header,omitempty"`
	Cookie string `json:"cookie,omitempty"`
	Query  string `json:"query,omitempty"`
	Host   string `json:"host,omitempty"`
	// Value is what the header, cookie or parameter must be; empty is anything.
	Value string `json:"value,omitempty"`
}

// Sticky says how a client is known again: by a cookie of this name, which the
// proxy sets, or by a header.
type Sticky struct {
	Cookie string `json:"cookie,omitempty"`
	Header string `json:"header,omitempty"`
}

// Mirror has copies of safe requests without a body (RFC 9110 section 9.2.1) go to
// the candidate, beside the request itself and without any effect on it. The
// candidate's answer is counted, compared, and thrown away.
type Mirror struct {
	// Share is how many of the requests are copied, in percent.
	Share float64 `json:"share"`
	// MaxInFlight is how many copies may be under way; beyond it none are made,
	// which is counted.
	MaxInFlight int `json:"max_in_flight"`
	// CompareBody also compares the bodies of the answers, if they are no longer
	// than MaxBody bytes.
	CompareBody bool  `json:"compare_body,omitempty"`
	MaxBody     int64 `json:"max_body,omitempty"`
}

// Hold keeps new requests of a service waiting, until a table comes without it.
// Requests that are in flight already go on.
type Hold struct {
	// Until is when the hold ends by itself, whatever becomes of the daemon.
	Until time.Time `json:"until"`
	// Time is the longest that one request waits, Requests and Bytes bound how
	// many of them wait, and the memory that they take. What is over a bound is
	// answered with 503 and Retry-After.
	Time     time.Duration `json:"time"`
	Requests int           `json:"requests"`
	Bytes    int64         `json:"bytes"`
}

// Release is a release's upstreams and its share of the requests.
type Release struct {
	// ID is "r1", "r2", ….
	ID string `json:"id"`
	// Weight is the share of the service's requests in percent; the weights of a
	// service sum to 100, or all are 0.
	Weight    int        `json:"weight"`
	Upstreams []Upstream `json:"upstreams"`
	// MaxInFlight is how many requests one upstream may have in flight, upgraded
	// connections with them; 0 is any number. Copies don't count.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Ejection takes upstreams out of the choice at which requests fail.
	Ejection Ejection `json:"ejection,omitzero"`
	// SlowStart is the time over which the share of an upstream rises that is new among
	// others; 0 is none.
	SlowStart time.Duration `json:"slow_start,omitempty"`
	// ReplayUploads has an upstream that is being stopped hand back the requests that it
	// has not read whole, to be replayed to another one (status 379). The deadline of a
	// drain doesn't cut those.
	ReplayUploads bool `json:"replay_uploads,omitempty"`
	// TellWebSockets has the clients of WebSockets be told to go before they are cut, when
	// the release drains or this proxy ends: a close frame with the status 1001
	// (RFC 6455 section 7.4.1) between two frames.
	TellWebSockets bool `json:"tell_websockets,omitempty"`
	// Health is asked of every upstream, whatever the weight; nil, or a
	// command, which only a driver can run, leaves the proxy to what requests
	// tell it.
	Health *health.Check `json:"health,omitempty"`
}

// Upstream is an instance as the proxy sees it.
type Upstream struct {
	// ID is the instance's.
	ID     string        `json:"id"`
	Target health.Target `json:"target"`
}

// DrainResult says how the requests ended that a release still had when its
// drain began.
type DrainResult struct {
	// InFlight is how many there were. At the end it is the sum of Finished, Told and
	// Cut, which are those of By, and of Left: uploads that their instances hand back when
	// they are stopped.
	InFlight uint64 `json:"in_flight"`
	Finished uint64 `json:"finished"`
	Told     uint64 `json:"told"`
	Cut      uint64 `json:"cut"`
	Left     uint64 `json:"left,omitempty"`
	// By tells apart what they were.
	By Endings `json:"by"`
	// Waited is the time until the last one ended.
	Waited time.Duration `json:"waited"`
}
