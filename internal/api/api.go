// Package api is how anything outside of the daemon talks to it: HTTP and JSON
// on a unix socket, under a versioned path. It holds the types that travel, the
// routes ([Server]) and the only client ([Client]), which the command line uses
// and nothing else.
//
// Errors travel as problem details (RFC 9457). Events travel as server-sent
// events whose id is the journal's, so that a client that lost its connection goes
// on where it was by sending Last-Event-ID.
package api

import (
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/spec"
)

// Version says what the daemon is.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Pid     int    `json:"pid"`
	// Started tells one run of the daemon from another, also in the same process.
	Started time.Time `json:"started"`
	// Proxy is the one that serves; nil when none answers.
	Proxy *ProxyVersion `json:"proxy,omitempty"`
}

// ProxyVersion says what a proxy is.
type ProxyVersion struct {
	Pid     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Connections are those of clients.
	Connections int64 `json:"connections"`
	// Differs is in what it is not as the daemon would start one: "version", "binary" or
	// "settings"; empty is in nothing.
	Differs string `json:"differs,omitempty"`
	// Replaced are those from which it has taken over and which still have something in
	// flight.
	Replaced []ProxyVersion `json:"replaced,omitempty"`
}

// UpgradeRequest asks the daemon to go on as another binary.
type UpgradeRequest struct {
	// Binary is its whole path; empty is that of the daemon's own.
	Binary string `json:"binary,omitempty"`
}

// Upgrade is what becomes of the daemon.
type Upgrade struct {
	Binary string `json:"binary"`
	From   string `json:"from"`
	To     string `json:"to"`
	// Needed is unset when the daemon is that binary already.
	Needed bool `json:"needed"`
}

// ProxyUpgradeRequest asks for a proxy as the daemon would start it.
type ProxyUpgradeRequest struct {
	// Drain is how long the old one may go on with what can't be passed on; 0 is ten minutes.
	Drain spec.Duration `json:"drain,omitempty"`
}

// ProxyUpgrade is what has become of the proxy. Both are the same when nothing had to be done.
type ProxyUpgrade struct {
	From ProxyVersion `json:"from"`
	To   ProxyVersion `json:"to"`
}

// DeployRequest asks for a deployment of a new release.
type DeployRequest struct {
	Spec *spec.Spec `json:"spec"`
	// Artifact is the digest that the upload returned.
	Artifact string `json:"artifact"`
	// Busy says what to do when a deployment is under way; empty refuses.
	Busy deploy.Busy `json:"busy,omitempty"`
	// Override is why it is to be done in spite of a freeze.
	Override string `json:"override,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// RollbackRequest asks for an earlier release; an empty one is the last stable.
type RollbackRequest struct {
	Release string      `json:"release,omitempty"`
	Busy    deploy.Busy `json:"busy,omitempty"`
	Reason  string      `json:"reason,omitempty"`
}

// ScaleRequest asks for another number of instances of stable.
type ScaleRequest struct {
	Instances int         `json:"instances"`
	Busy      deploy.Busy `json:"busy,omitempty"`
	Reason    string      `json:"reason,omitempty"`
}

// RestartRequest asks for new instances of stable's artifact and spec.
type RestartRequest struct {
	Busy   deploy.Busy `json:"busy,omitempty"`
	Reason string      `json:"reason,omitempty"`
}

// CommandRequest is of a command that needs no more than why it is given: abort,
// resume, release, unfreeze.
type CommandRequest struct {
	Reason string `json:"reason,omitempty"`
}

// PauseRequest asks a deployment to begin no further step.
type PauseRequest struct {
	// For is how long, Then what happens after it.
	For    spec.Duration `json:"for"`
	Then   spec.Then     `json:"then"`
	Reason string        `json:"reason,omitempty"`
}

// PromoteRequest goes on from an approval or a pause.
type PromoteRequest struct {
	// Full skips the bakes and approvals that are still to come.
	Full   bool   `json:"full,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// HoldRequest keeps a service's new requests waiting.
type HoldRequest struct {
	// For is how long the hold lasts, Limits what may wait in it.
	For    spec.Duration `json:"for"`
	Limits spec.Hold     `json:"limits"`
	Reason string        `json:"reason,omitempty"`
}

// FreezeRequest refuses deploys.
type FreezeRequest struct {
	// Until is zero for a freeze without an end.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// HoldEnd is what a release of held requests has ended; nil when there was no hold.
type HoldEnd struct {
	Hold *deploy.Hold `json:"hold"`
}

// FreezeEnd is what an unfreeze has ended; nil when there was no freeze.
type FreezeEnd struct {
	Freeze *deploy.Freeze `json:"freeze"`
}

// History is a service's past, oldest first.
type History struct {
	Releases    []deploy.Release    `json:"releases"`
	Deployments []deploy.Deployment `json:"deployments"`
}

// Uploaded is the answer to an upload.
type Uploaded struct {
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
	Files  int    `json:"files"`
}
