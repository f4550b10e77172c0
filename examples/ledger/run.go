package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// finishTime is how long the requests in flight may take after a SIGTERM.
const finishTime = 10 * time.Second

// run opens the ledger, listens and serves until ctx ends, then finishes what is
// in flight and closes the ledger. It returns an error when the release is one
// that crashes.
func (c config) run(ctx context.Context, log *slog.Logger) (err error) {
	if c.behaviour.kind == crash {
		return errors.New("crashing at once, as LEDGER_BEHAVIOUR=crash asks")
	}
	st, err := openStore(ctx, c.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("listening", "address", c.address, "data", c.dir,
		"release", c.release, "instance", c.instance, "behaviour", c.behaviour.kind)
	return c.serve(ctx, ln, st, log)
}

func (c config) serve(ctx context.Context, ln net.Listener, st *store, log *slog.Logger) error {
	server := &http.Server{Handler: newService(c, st).handler(), ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}

	log.Info("stopping", "at_most", finishTime)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		_ = server.Close() // cuts what was too slow; that it was is the error
		return fmt.Errorf("requests were still in flight %s after SIGTERM: %w", finishTime, err)
	}
	log.Info("stopped")
	return nil
}
