package deploy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/spec"
)

// smokeBodyLimit is how much of an answer a smoke test looks at.
const smokeBodyLimit = 1 << 20

// verify runs the release's smoke tests directly against its instances.
func (s *service) verify(ctx context.Context, d *Deployment, st StepState) (Outcome, error) {
	state := s.snapshot()
	tests := state.Release(st.Release).Spec.Smoke
	instances, err := s.readyInstances(ctx, d, &state, st.Release)
	if err != nil {
		return Outcome{}, err
	}
	for i, test := range tests {
		if err := s.smoke(ctx, &state, st.Release, test, instances); err != nil {
			return Outcome{}, fmt.Errorf("smoke test %d of %d: %w", i+1, len(tests), err)
		}
		s.note(ctx, d.Number, fmt.Sprintf("smoke test %d of %d passed", i+1, len(tests)))
	}
	return Outcome{Message: plural(len(tests), "smoke test") + " passed"}, nil
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

func (s *service) smoke(ctx context.Context, state *State, release string, test spec.Smoke, instances []driver.Instance) error {
	timeout := time.Duration(test.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no result within %s", timeout))
	defer cancel()
	if test.HTTP != nil {
		for _, in := range instances {
			if err := smokeHTTP(ctx, test.HTTP, in.Target); err != nil {
				return &instanceError{in.ID, err.Error()}
			}
		}
		return nil
	}
	r, err := s.e.driverRelease(state, release)
	if err != nil {
		return err
	}
	var addresses []string
	for _, in := range instances {
		addresses = append(addresses, in.Target.Address)
	}
	output, err := s.e.cfg.Driver.Exec(ctx, r, test.Command, map[string]string{
		"SEGUE_CANDIDATE":  addresses[0],
		"SEGUE_CANDIDATES": strings.Join(addresses, " "),
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w%s", strings.Join(test.Command, " "), err, lastLines(output, 5))
}

// smokeHTTP sends one request and holds the answer against what is expected.
func smokeHTTP(ctx context.Context, test *spec.SmokeHTTP, target health.Target) error {
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var dialer net.Dialer
				return dialer.DialContext(ctx, target.Network, target.Address)
			},
		},
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
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, smokeBodyLimit))
	if err != nil {
		return fmt.Errorf("%s: read the answer: %w", what, err)
	}
	return smokeAnswer(what, test, resp.StatusCode, body)
}

func smokeAnswer(what string, test *spec.SmokeHTTP, status int, body []byte) error {
	if test.Status == 0 && status/100 != 2 {
		return fmt.Errorf("%s: %d, want 2xx%s", what, status, lastLines(string(body), 1))
	}
	if test.Status != 0 && status != test.Status {
		return fmt.Errorf("%s: %d, want %d%s", what, status, test.Status, lastLines(string(body), 1))
	}
	if !bytes.Contains(body, []byte(test.Contains)) {
		return fmt.Errorf("%s: the answer does not contain %q%s", what, test.Contains, lastLines(string(body), 1))
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
