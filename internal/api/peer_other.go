//go:build !linux

package api

import (
	"context"
	"net"

	"github.com/segue-deploy/segue/internal/deploy"
)

// The daemon runs on Linux; elsewhere only the client is used.
func withPeer(ctx context.Context, _ net.Conn) context.Context { return ctx }

func peer(_ context.Context, reason string) deploy.Actor { return deploy.Actor{Reason: reason} }
