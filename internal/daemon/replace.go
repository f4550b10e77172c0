package daemon

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segue-deploy/segue/internal/proxy"
)

const (
	// drainDefault is how long a proxy that was replaced may go on with upgraded
	// connections and long answers.
	drainDefault = 10 * time.Minute
	// takeOverDeadline is how long a takeover may take, without what is passed on after it.
	takeOverDeadline = 10 * time.Second
)

// replacement asks for another proxy in the place of the one that runs. err is known when
// done is closed.
type replacement struct {
	grace time.Duration
	done  chan struct{}
	err   error
}

// replaceProxy has another proxy take over from the one that runs, and returns when it has.
// After an error the one that runs goes on.
func (k *proxyKeeper) replaceProxy(ctx context.Context, grace time.Duration) error {
	r := &replacement{grace: grace, done: make(chan struct{})}
	select {
	case k.requests <- r:
	case <-ctx.Done():
		return fmt.Errorf("no proxy runs that could be replaced: %w", context.Cause(ctx))
	}
	<-r.done // Each step has a deadline.
	return r.err
}

// replace starts a proxy beside the one that runs, on the same sockets, and has it take
// over. Until it has, it can be given up.
func (k *proxyKeeper) replace(ctx context.Context, r *replacement) (next *watchedProcess, err error) {
	current, socket := controlPath(k.cfg.StateDir), nextPath(k.cfg.StateDir)
	old, err := k.nameReplaced(found{path: current, info: proxy.Info{Pid: k.running.pid}})
	if err != nil {
		return nil, err
	}
	next, err = k.launch(ctx, socket)
	if err == nil {
		k.at("launched", next)
		err = k.takeOver(ctx, next, socket, old, r.grace)
	}
	if err == nil {
		return next, nil
	}
	if ctx.Err() != nil {
		return nil, err // The next daemon finds out whether it serves.
	}
	if next != nil {
		next.kill()
		next.close()
	}
	_ = os.Remove(socket)
	k.cfg.Logger.Error("the new proxy was given up", "error", err)
	return nil, fmt.Errorf("the new proxy was given up, the old one goes on: %w", err)
}

// takeOver has the proxy at one socket take over from that at another, while nobody asks
// either for anything.
func (k *proxyKeeper) takeOver(ctx context.Context, p *watchedProcess, next, old string, grace time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, takeOverDeadline, fmt.Errorf("it did not take over within %s", takeOverDeadline))
	defer cancel()
	k.traffic.turn.Lock()
	defer k.traffic.turn.Unlock()
	if _, err := proxy.NewClient(next).TakeOver(ctx, old, grace); err != nil {
		return err
	}
	k.at("taken", p)
	if err := os.Rename(next, controlPath(k.cfg.StateDir)); err != nil {
		return fmt.Errorf("give the control socket its name: %w", err)
	}
	return nil
}

func (k *proxyKeeper) at(point string, next *watchedProcess) {
	if k.cfg.AtUpgrade != nil {
		k.cfg.AtUpgrade(point, next.pid)
	}
}
