package deploy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/spec"
)

// hook runs the commands that the candidate's spec names for a moment, one after the
// other. After a crash in the middle all of them run again.
func (s *service) hook(ctx context.Context, d *Deployment, i int) (Outcome, error) {
	st := d.Steps[i]
	state := s.snapshot()
	hooks := st.Hook.of(state.Release(st.Release).Spec.Hooks)
	env := map[string]string{
		"SEGUE_DEPLOYMENT": d.ID, "SEGUE_STABLE": d.Stable, "SEGUE_HOOK": string(st.Hook),
		"SEGUE_WEIGHT": strconv.Itoa(state.Weights[d.Candidate]),
	}
	failed := 0
	for n, h := range hooks {
		err := s.runHook(ctx, d, i, n, h, env)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return Outcome{}, context.Cause(ctx)
		case h.OnFailure == spec.OnFailureContinue:
			failed++
			s.note(ctx, d.Number, fmt.Sprintf("hook %d of %d failed, which its spec lets pass: %v", n+1, len(hooks), err))
		default:
			return Outcome{}, fmt.Errorf("hook %s %d of %d: %w", st.Hook, n+1, len(hooks), err)
		}
	}
	return Outcome{Message: fmt.Sprintf("%s run, %d failed", plural(len(hooks), "command"), failed)}, nil
}

func (s *service) runHook(ctx context.Context, d *Deployment, step, n int, h spec.Hook, env map[string]string) error {
	timeout := time.Duration(h.Timeout)
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it had not ended after %s", timeout))
	defer cancel()
	began := time.Now()
	output, err := s.exec(limited, d.Steps[step].Release, h.Command, env)
	if err != nil && output == "" {
		output = err.Error()
	}
	s.keep(ctx, d.Number, Checked{
		Step: step, Check: n + 1, Name: strings.Join(h.Command, " "), Try: 1, Passed: err == nil, Output: output, Took: time.Since(began),
	})
	return err
}
