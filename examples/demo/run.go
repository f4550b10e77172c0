package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// finishTime is how long the requests in flight may take after a SIGTERM.
const finishTime = 10 * time.Second

// run listens and serves until ctx ends, then finishes what is in flight. It
// returns an error when the release is one that crashes.
func (c config) run(ctx context.Context, log *slog.Logger) error {
	switch c.behaviour.kind {
	case crash:
		return errors.New("crashing at once, as DEMO_BEHAVIOUR=crash asks")
	case listenLate:
		select {
		case <-time.After(c.behaviour.after):
		case <-ctx.Done():
			return nil
		}
	}
	ln, err := c.listen(ctx)
	if err != nil {
		return err
	}
	log.Info("listening", "network", c.network, "address", c.address,
		"release", c.release, "instance", c.instance, "version", c.version, "behaviour", c.behaviour.kind)
	return c.serve(ctx, ln, log)
}

func (c config) listen(ctx context.Context) (net.Listener, error) {
	if c.network == "unix" {
		// Left behind by an instance that was killed; a second bind would fail.
		if info, err := os.Lstat(c.address); err == nil && info.Mode().Type() == fs.ModeSocket {
			if err := os.Remove(c.address); err != nil {
				return nil, fmt.Errorf("remove the old socket: %w", err)
			}
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, c.network, c.address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return ln, nil
}

func (c config) serve(ctx context.Context, ln net.Listener, log *slog.Logger) error {
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s := newService(stopping, c)
	seen, err := openSeen(c.seen)
	if err != nil {
		ln.Close()
		return err
	}
	defer seen.close()
	s.seen = seen
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()

	var crashed <-chan time.Time
	if c.behaviour.kind == crashAfter {
		crashed = time.After(c.behaviour.after)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-crashed:
		_ = server.Close() // the error that matters is the crash
		return fmt.Errorf("crashing after %s, as DEMO_BEHAVIOUR asks", c.behaviour.after)
	case <-s.crashed:
		_ = server.Close() // as above
		return fmt.Errorf("crashing at request %d, as DEMO_BEHAVIOUR asks", c.behaviour.requests)
	case <-ctx.Done():
	}

	log.Info("stopping", "at_most", finishTime)
	stop()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil {
		_ = server.Close() // cuts what was too slow; that it was is the error
		return fmt.Errorf("requests were still in flight %s after SIGTERM: %w", finishTime, err)
	}
	s.sockets.Wait()
	log.Info("stopped")
	return nil
}
