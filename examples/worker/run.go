package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// pause is how long an empty queue is left alone.
const pause = 20 * time.Millisecond

// run does jobs until ctx ends, and the one that it is on then to its end. It
// returns an error when the release is one that crashes.
func (c config) run(ctx context.Context, log *slog.Logger) error {
	if c.behaviour.kind == crash {
		return errors.New("crashing at once, as WORKER_BEHAVIOUR=crash asks")
	}
	if err := c.queue.prepare(); err != nil {
		return err
	}
	if c.behaviour.kind == neverReady {
		log.Info("never ready", "queue", c.queue, "release", c.release, "instance", c.instance)
		<-ctx.Done()
		return nil
	}
	if err := notify(c.notify, "READY=1"); err != nil {
		return fmt.Errorf("say that the worker is ready: %w", err)
	}
	log.Info("ready", "queue", c.queue, "release", c.release, "instance", c.instance, "behaviour", c.behaviour.kind)
	var crashed <-chan time.Time
	if c.behaviour.kind == crashAfter {
		crashed = time.After(c.behaviour.after)
	}
	return c.work(ctx, crashed, log)
}

// work is the main loop.
func (c config) work(ctx context.Context, crashed <-chan time.Time, log *slog.Logger) error {
	for ctx.Err() == nil {
		j, err := c.queue.take(c.instance)
		if err != nil {
			return fmt.Errorf("take a job: %w", err)
		}
		if j == nil {
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				continue
			case <-crashed:
				return c.crash()
			}
		}
		log.Info("began", "job", j.name, "takes", j.takes)
		select {
		case <-time.After(j.takes): // the work; the end of ctx doesn't cut it
		case <-crashed:
			return c.crash()
		}
		if err := c.queue.finish(j, result{j.name, c.release, c.instance, j.refused}); err != nil {
			return fmt.Errorf("finish a job: %w", err)
		}
		log.Info("did", "job", j.name)
	}
	log.Info("stopped")
	return nil
}

func (c config) crash() error {
	return fmt.Errorf("crashing after %s, as WORKER_BEHAVIOUR asks", c.behaviour.after)
}
