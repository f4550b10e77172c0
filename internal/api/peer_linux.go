package api

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/segue-deploy/segue/internal/deploy"
)

type peerKey struct{}

// withPeer notes who is at the other end of a unix socket, as the kernel says.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}) != nil || err != nil {
		return ctx
	}
	name := strconv.Itoa(int(cred.Uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return context.WithValue(ctx, peerKey{}, deploy.Actor{By: name, From: fmt.Sprintf("process %d of this machine", cred.Pid)})
}

// peer is the user who sent a request, and from where; empty if unknown.
func peer(ctx context.Context, reason string) deploy.Actor {
	actor, _ := ctx.Value(peerKey{}).(deploy.Actor)
	actor.Reason = reason
	return actor
}
