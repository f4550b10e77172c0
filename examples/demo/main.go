// Command demo is a service to deploy with Segue: it says with every answer
// which release and instance gave it, and it can be told to go wrong in the ways
// that services do.
//
// It listens on PORT (at HOST, 127.0.0.1 without one) or on the unix socket
// SOCKET, and knows itself by SEGUE_RELEASE and SEGUE_INSTANCE, all of which
// Segue sets. DEMO_VERSION is any text, shown in its answers. DEMO_BEHAVIOUR is
// how it goes wrong: see [behaviours]. DEMO_SEEN is a file to which it appends a line
// for each request that it gets: see [arrival].
//
// Every answer carries X-Release and X-Instance, and gives back the request's
// X-Load-Id, in its header and, where it is JSON, in its body; X-Load-Seen is how often
// the instance has got that ID (see docs/guides/prove.md):
//
//	GET  /            who answers
//	GET  /healthz     200 when ready
//	GET  /smoke       200 when the release is any good
//	GET  /slow?d=5s   a line every 100 ms for that long, at the end the line "end"
//	POST /echo        reads the body, answers its length and SHA-256; so does POST /
//	POST /upload      the same, reading slowly: ?rate=65536 bytes per second
//	GET  /bytes?n=10  n bytes, of which byte i is i modulo 251
//	GET  /status/503  an answer with that status
//	GET  /request     how the request arrived: its target, host and headers
//	GET  /ws          WebSocket: every message comes back
//	GET  /events      server-sent events, one a second (?every=100ms)
//
// SIGTERM and SIGINT stop it: it accepts no more, finishes the requests in
// flight within 10 s, and ends WebSockets and event streams, which have no end of
// their own, at once.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func start() error {
	c, err := configFrom(os.Getenv)
	if err != nil {
		return err
	}
	stop := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if c.behaviour.kind == ignoreTerm {
		signal.Ignore(syscall.SIGTERM)
		stop = stop[1:]
	}
	ctx, cancel := signal.NotifyContext(context.Background(), stop...)
	defer cancel()
	return c.run(ctx, slog.New(slog.NewTextHandler(os.Stdout, nil)))
}
