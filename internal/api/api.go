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
	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/spec"
)

// Version says what the daemon is.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	Pid     int    `json:"pid"`
}

// DeployRequest asks for a deployment of a new release.
type DeployRequest struct {
	Spec *spec.Spec `json:"spec"`
	// Artifact is the digest that the upload returned.
	Artifact string `json:"artifact"`
	// Busy says what to do when a deployment is under way; empty refuses.
	Busy   deploy.Busy `json:"busy,omitempty"`
	Reason string      `json:"reason,omitempty"`
}

// RollbackRequest asks for an earlier release; an empty one is the last stable.
type RollbackRequest struct {
	Release string      `json:"release,omitempty"`
	Busy    deploy.Busy `json:"busy,omitempty"`
	Reason  string      `json:"reason,omitempty"`
}

// AbortRequest says why.
type AbortRequest struct {
	Reason string `json:"reason,omitempty"`
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
