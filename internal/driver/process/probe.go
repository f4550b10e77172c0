//go:build linux

package process

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/health"
)

// Defaults of a check that leaves them out: nothing waits for ever.
const (
	probeInterval = time.Second
	probeTimeout  = 5 * time.Second
	// eager is the first interval between probes of a process that has just
	// been started. It doubles up to the check's own, so that most instances
	// needn't wait a whole interval to be found ready.
	eager = 20 * time.Millisecond
)

// newGate returns the gate of a process that may be ready already.
func newGate(r *record) *health.Gate {
	check := r.Release.Health
	gate := health.NewGate(check.Healthy, check.Unhealthy)
	if !r.ReadySince.IsZero() {
		for !gate.Open() {
			gate.Observe(true)
		}
	}
	return gate
}

// probe asks after the process's health until ctx ends and sends the answers.
// wasReady: there is no hurry.
func (in *instance) probe(ctx context.Context, answers chan<- error, wasReady bool) {
	interval := cmp.Or(max(in.rec.Release.Health.Interval, 0), probeInterval)
	wait := eager
	if wasReady {
		wait = interval
	}
	for {
		next := time.NewTimer(min(wait, interval))
		err := in.ask(ctx)
		if ctx.Err() == nil {
			select {
			case answers <- err:
			case <-ctx.Done():
			}
		}
		if wait *= 2; err == nil || wait > interval {
			wait = interval
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// ask asks once. What it reads of the instance doesn't change while it runs.
func (in *instance) ask(ctx context.Context) error {
	check := in.rec.Release.Health
	if len(check.Command) == 0 {
		return check.Probe(ctx, in.target())
	}
	s, path, args, err := in.command(check.Command)
	if err != nil {
		return fmt.Errorf("check %s: %w", check.Command[0], err)
	}
	timeout := cmp.Or(max(check.Timeout, 0), probeTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no result within %v", timeout))
	defer cancel()
	output, err := s.runOnce(ctx, path, args, in.rec.Marker)
	if err == nil {
		return nil
	}
	if line := lastLine(output); line != "" {
		return fmt.Errorf("check %s: %w: %s", args[0], err, line)
	}
	return fmt.Errorf("check %s: %w", args[0], err)
}

// answered takes an answer.
func (in *instance) answered(err error) {
	open, changed := in.gate.Observe(err == nil)
	switch {
	case err != nil:
		in.complaint = "health: " + err.Error()
	case open:
		in.complaint = ""
	}
	if changed {
		in.rec.ReadySince = time.Time{}
		if open {
			in.rec.ReadySince = time.Now()
			in.rec.WasReady, in.rec.EverReady = true, true
		}
		in.save()
	}
	in.publish()
}

// whyNotReady says at the deadline what has kept it from being ready.
func (in *instance) whyNotReady() string {
	why := fmt.Sprintf("not ready %v after its start: ", in.rec.Release.StartDeadline)
	switch {
	case in.rec.Down:
		return why + in.rec.Message
	case in.complaint == "":
		why += "no probe of its health has had an answer"
	default:
		why += strings.TrimPrefix(in.complaint, "health: ")
	}
	if in.rec.Message != "" {
		why += "; the process before " + in.rec.Message
	}
	return why
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
