// Package health says what it means for an instance to be healthy, and finds
// out.
//
// A [Check] is one question: over HTTP, gRPC or TCP, which [Check.Probe] asks once, or to
// be asked by a driver, of a command, a file, or the instance's own word.
// A [Gate] turns the answers into a state that does not flap: it opens after a
// number of good answers in a row and closes after a number of bad ones.
//
// The process driver asks to learn when an instance it started is ready; the
// proxy asks to eject and readmit upstreams while nobody else is watching. Both
// use this package, so that they can't disagree about what the answer means.
package health

import (
	"time"
)

// Check is a question to an instance. Exactly one of HTTP, GRPC, TCP, Command, File and
// Notify is set; [Check.Probe] can ask the first three, the others only a driver,
// which runs the instance.
type Check struct {
	HTTP *HTTP `json:"http,omitempty"`
	GRPC *GRPC `json:"grpc,omitempty"`
	TCP  bool  `json:"tcp,omitempty"`
	// Command is an argument vector, run by the driver beside the instance;
	// exit code 0 is healthy.
	Command []string `json:"command,omitempty"`
	// File is a path in the instance's own directory; that it exists is healthy.
	File string `json:"file,omitempty"`
	// Notify: the instance says READY=1, and may say STOPPING=1, by the protocol of
	// sd_notify(3). Interval, Timeout, Healthy and Unhealthy mean nothing then: it says
	// it once.
	Notify bool `json:"notify,omitempty"`

	// Interval is the time between the starts of two probes, Timeout the
	// longest that one may take.
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`

	// Healthy and Unhealthy are how many answers in a row open and close a
	// [Gate]; both are at least 1.
	Healthy   int `json:"healthy"`
	Unhealthy int `json:"unhealthy"`
}

// HTTP is a GET request and the answer it expects.
type HTTP struct {
	// Path starts with a slash and may have a query.
	Path string `json:"path"`
	// Host is the value of the Host header; empty stands for "localhost".
	Host string `json:"host,omitempty"`
	// Status is the one status code that is healthy; 0 stands for any 2xx or 3xx.
	Status int `json:"status,omitempty"`
}

// ByAddress reports whether [Check.Probe] can ask it.
func (c Check) ByAddress() bool { return c.HTTP != nil || c.GRPC != nil || c.TCP }

// Target is where an instance listens.
type Target struct {
	// Network is "tcp" or "unix".
	Network string `json:"network"`
	// Address is "host:port" or the path of a socket.
	Address string `json:"address"`
	// H2C is set when it speaks HTTP/2 without TLS and nothing else, and its clients know
	// that (RFC 9113 section 3.3).
	H2C bool `json:"h2c,omitempty"`
}
