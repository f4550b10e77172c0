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
	// candidate before its shift) gets no new request.
	Releases []Release `json:"releases"`
}

// Release is a release's upstreams and its share of the requests.
type Release struct {
	// ID is "r1", "r2", ….
	ID string `json:"id"`
	// Weight is the share of the service's requests in percent; the weights of a
	// service sum to 100, or all are 0.
	Weight    int        `json:"weight"`
	Upstreams []Upstream `json:"upstreams"`
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
	// InFlight is how many there were, Upgraded how many of them were upgraded
	// connections (WebSocket and the like).
	InFlight int `json:"in_flight"`
	Upgraded int `json:"upgraded"`
	// Finished ended by themselves, Cut were cut at the deadline.
	Finished int `json:"finished"`
	Cut      int `json:"cut"`
	// Waited is the time until the last one ended.
	Waited time.Duration `json:"waited"`
}
