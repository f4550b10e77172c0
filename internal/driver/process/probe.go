//go:build linux

package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	if check.Notify {
		check.Healthy, check.Unhealthy = 1, 1 // it says it once
	}
	gate := health.NewGate(check.Healthy, check.Unhealthy)
	if !r.ReadySince.IsZero() {
		for !gate.Open() {
			gate.Observe(true)
		}
	}
	return gate
}

// probe asks after the process's health until ctx ends and sends the answers. About
// one of which something is known already there is no hurry.
func (in *instance) probe(ctx context.Context, answers chan<- error, known notice) {
	if in.rec.Release.Health.Notify {
		in.attend(ctx, answers, known)
		return
	}
	interval := cmp.Or(max(in.rec.Release.Health.Interval, 0), probeInterval)
	wait := eager
	if known.word != "" {
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
	switch {
	case check.File != "":
		return fileExists(in.rec.RunDir, check.File)
	case len(check.Command) == 0:
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

// fileExists asks for a file in a run directory. Its user owns the directory, and
// links in it lead to nothing outside.
func fileExists(runDir, file string) error {
	root, err := os.OpenRoot(runDir)
	if err != nil {
		return fmt.Errorf("file %s: %w", file, err)
	}
	defer root.Close()
	_, err = root.Stat(file)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s in its run directory", file)
	}
	return fmt.Errorf("file %s: %w", file, err)
}

// answered takes an answer. One that can't be asked for is as healthy as it was.
func (in *instance) answered(err error) {
	if health.Starved(err) {
		in.complaint = "health: it can't be asked: " + err.Error()
		in.publish()
		return
	}
	open, changed := in.gate.Observe(err == nil)
	switch {
	case err != nil:
		in.complaint = "health: " + err.Error()
	case open:
		in.complaint = ""
	}
	if changed {
		in.turned(open)
	}
	in.publish()
}

// turned enters that the gate has opened or closed. What is asked again by the next
// driver may be lost; what a process says only once must be on disk to count.
func (in *instance) turned(open bool) {
	before := in.rec
	in.rec.ReadySince = time.Time{}
	if open {
		in.rec.ReadySince = time.Now()
		in.rec.WasReady, in.rec.EverReady = true, true
	}
	if !in.rec.Release.Health.Notify {
		in.save()
		return
	}
	if err := in.rec.save(in.d.recordPath(in.id)); err != nil {
		in.rec = before
		in.gate = newGate(&in.rec)
		in.complaint = "health: what it said on its notify socket can't be recorded: " + err.Error()
		in.log().Warn("what an instance said of its health can't be recorded; trying again", "error", err)
		return
	}
	in.d.cfg.fault("word recorded")
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
	if in.rec.Release.Health.Notify && in.mayHaveSpoken {
		why += "; what it may have said while segue was being started again is lost"
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
