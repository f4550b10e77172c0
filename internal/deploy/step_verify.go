package deploy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/spec"
)

// bodyLimit is how much of an answer a check looks at, outputLimit how much of what
// a command has printed is kept; both in bytes.
const (
	bodyLimit   = 1 << 20
	outputLimit = 4 << 10
)

// verifyMargin is what the checks may take beyond their deadline, which is the sum of
// all tries' timeouts: the last try ends by its own, with a better message.
const verifyMargin = time.Second

// verify runs a step's checks directly against the release's instances. What each
// try came to is journalled.
func (s *service) verify(ctx context.Context, d *Deployment, i int) (Outcome, error) {
	st := d.Steps[i]
	state := s.snapshot()
	instances, err := s.readyInstances(ctx, d, &state, st.Release)
	if err != nil {
		return Outcome{}, err
	}
	limit := time.Duration(st.Deadline)
	ctx, cancel := context.WithTimeoutCause(ctx, limit+verifyMargin, fmt.Errorf("the checks were not through within %s", limit))
	defer cancel()
	for n, check := range st.Checks {
		if err := s.check(ctx, d, i, n, instances); err != nil {
			return Outcome{}, fmt.Errorf("check %d of %d: %w", n+1, len(st.Checks), err)
		}
		s.note(ctx, d.Number, fmt.Sprintf("check %d of %d passed: %s", n+1, len(st.Checks), checkName(check)))
	}
	return Outcome{Message: plural(len(st.Checks), "check") + " passed"}, nil
}

// readyInstances waits for all instances of a release to be ready. They are,
// unless the machine was started anew since the start step.
func (s *service) readyInstances(ctx context.Context, d *Deployment, state *State, release string) ([]driver.Instance, error) {
	limit := time.Duration(state.Release(release).Spec.Health.StartDeadline)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not all instances of %s were ready within %s", release, limit))
	defer cancel()
	if err := s.awaitReady(ctx, d, release, state.Running[release].Instances); err != nil {
		return nil, err
	}
	return s.instances(ctx, release)
}

// check tries a check as often as it may be tried, until it passes.
func (s *service) check(ctx context.Context, d *Deployment, step, n int, instances []driver.Instance) error {
	st := d.Steps[step]
	check := st.Checks[n]
	for try := 1; ; try++ {
		began := time.Now()
		output, err := s.tryCheck(ctx, st.Release, check, instances)
		result := Checked{Step: step, Check: n + 1, Name: checkName(check), Try: try, Passed: err == nil, Output: output, Took: time.Since(began)}
		if err != nil && output == "" {
			result.Output = err.Error()
		}
		s.keep(ctx, d.Number, result)
		if err == nil || try > check.Retries || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(time.Duration(check.RetryAfter)):
		case <-ctx.Done():
			return err
		}
	}
}

// keep journals what a check or a hook came to. That it can't be journalled changes
// nothing but what people see.
func (s *service) keep(ctx context.Context, deployment int, result Checked) {
	if len(result.Output) > outputLimit {
		result.Output = "…" + strings.ToValidUTF8(result.Output[len(result.Output)-outputLimit:], "")
	}
	if err := s.commit(ctx, deployment, result); err != nil {
		s.log.Warn("journal what a check came to", "check", result.Name, "error", err)
	}
}

// tryCheck runs a check once, and returns what its command has printed.
func (s *service) tryCheck(ctx context.Context, release string, check spec.Check, instances []driver.Instance) (output string, err error) {
	timeout := time.Duration(check.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no result within %s", timeout))
	defer cancel()
	if check.HTTP != nil {
		for _, in := range instances {
			if err := checkHTTP(ctx, check.HTTP, in.Target); err != nil {
				return "", &instanceError{in.ID, err.Error()}
			}
		}
		return "", nil
	}
	return s.exec(ctx, release, check.Command, addressesOf(instances))
}

// addressesOf tells a command where the candidate's instances are.
func addressesOf(instances []driver.Instance) map[string]string {
	var addresses []string
	for _, in := range instances {
		if in.Target.Address != "" {
			addresses = append(addresses, in.Target.Address)
		}
	}
	env := map[string]string{"SEGUE_CANDIDATES": strings.Join(addresses, " ")}
	if len(addresses) > 0 {
		env["SEGUE_CANDIDATE"] = addresses[0]
	}
	return env
}

// exec runs a command in the surroundings of a release. An error has its last lines.
func (s *service) exec(ctx context.Context, release string, command []string, env map[string]string) (output string, err error) {
	state := s.snapshot()
	r, err := s.e.driverRelease(&state, release)
	if err != nil {
		return "", err
	}
	output, err = s.e.cfg.Driver.Exec(ctx, r, command, env)
	if err == nil {
		return output, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return output, fmt.Errorf("%s: %w%s", strings.Join(command, " "), err, lastLines(output, 5))
}

// checkName is what a check asks or runs.
func checkName(c spec.Check) string {
	if c.HTTP != nil {
		return c.HTTP.Method + " " + c.HTTP.Path
	}
	return strings.Join(c.Command, " ")
}

// checkHTTP sends one request and holds the answer against what is expected.
func checkHTTP(ctx context.Context, test *spec.CheckHTTP, target health.Target) error {
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     transportTo(target),
	}
	what := test.Method + " " + test.Path
	req, err := http.NewRequestWithContext(ctx, test.Method, "http://localhost"+test.Path, strings.NewReader(test.Body))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for name, value := range test.Headers {
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", what, err)
	}
	if err := checkAnswer(test, resp, body, time.Since(began)); err != nil {
		return fmt.Errorf("%s: %w%s", what, err, lastLines(string(body), 1))
	}
	return nil
}

// lastLines is the end of some output, ready to be put behind a message.
func lastLines(output string, n int) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	lines = lines[max(0, len(lines)-n):]
	text := strings.TrimSpace(strings.Join(lines, "\n"))
	if text == "" {
		return ""
	}
	const limit = 600
	if len(text) > limit {
		text = "…" + strings.ToValidUTF8(text[len(text)-limit:], "")
	}
	return ": " + text
}
