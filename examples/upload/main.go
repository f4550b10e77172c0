// Command upload is a service that takes long uploads and loses none when it is replaced:
// what it hasn't got whole by the time it is stopped it hands back (see package handback).
//
// It listens on PORT at 127.0.0.1 and keeps its files in DATA_DIR. Every answer carries
// X-Release.
//
//	POST /files/NAME  stores the body, answers its length and SHA-256
//	GET  /files/NAME  what was stored
//	GET  /healthz     200
//
// SIGTERM and SIGINT stop it: it accepts no more, hands back or finishes what is in flight,
// and ends within 10 s.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/handback"
)

const (
	finishTime = 10 * time.Second
	// keptBytes is how much is kept of a body by the handler that hands it back. The store
	// keeps its own.
	keptBytes = 64 << 10
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := run(ctx, os.Getenv("PORT"), os.Getenv("DATA_DIR"), os.Getenv("SEGUE_RELEASE")); err != nil {
		fmt.Fprintln(os.Stderr, "upload:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, port, dir, release string) error {
	if port == "" || dir == "" {
		return errors.New("PORT or DATA_DIR is not set: set both")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	uploads := handback.New(store{dir, release}.handler(), keptBytes)
	server := &http.Server{Handler: uploads, ReadHeaderTimeout: 30 * time.Second}
	server.RegisterOnShutdown(uploads.Stop)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		server.Close()
		return fmt.Errorf("requests were still in flight %s after the signal: %w", finishTime, err)
	}
	return nil
}
