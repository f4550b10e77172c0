//go:build !linux

package api

import (
	"context"
	"net"
)

// The daemon runs on Linux; elsewhere only the client is used.
func withPeer(ctx context.Context, _ net.Conn) context.Context { return ctx }

func peer(context.Context) string { return "" }
