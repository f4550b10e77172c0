package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/segue-deploy/segue/internal/driver"
)

// LogQuery selects output of a service's instances.
type LogQuery struct {
	Service string
	// Release may be empty: the candidate of the deployment under way, or else
	// stable, or else the last candidate.
	Release string
	// Instance restricts to one instance's ID.
	Instance string
	// Tail is how many of the last lines of each instance come first; negative
	// is all there are.
	Tail int
	// Follow goes on with new lines until the context ends.
	Follow bool
}

// Logs copies output to w.
func (e *Engine) Logs(ctx context.Context, w io.Writer, q LogQuery) error {
	s, err := e.known(ctx, q.Service)
	if err != nil {
		return err
	}
	st := s.snapshot()
	release := q.Release
	if release == "" {
		release = st.newest()
	}
	if st.Release(release) == nil {
		return &Error{ProblemNotFound, fmt.Sprintf("%s has no release %q", q.Service, release), "'segue history' lists its releases"}
	}
	err = e.cfg.Driver.Logs(ctx, w, q.Service, release, driver.LogOptions{Instance: q.Instance, Tail: q.Tail, Follow: q.Follow})
	if errors.Is(err, driver.ErrNoLogs) {
		return &Error{ProblemNotFound, err.Error(), "'segue status' lists the instances that run"}
	}
	return err
}

// newest is the release that matters most now.
func (s *State) newest() string {
	switch d := s.Current(); {
	case d != nil:
		return d.Candidate
	case s.Stable == "" && len(s.Deployments) > 0:
		return s.Deployments[len(s.Deployments)-1].Candidate
	}
	return s.Stable
}

// tailOf is the last output of the instance that an error blames, if it does.
func (s *service) tailOf(ctx context.Context, release string, err error) []string {
	if blamed, ok := errors.AsType[*instanceError](err); ok {
		return s.logTail(ctx, release, blamed.instance)
	}
	return nil
}

// logTail is the last output of an instance; none is an answer, too.
func (s *service) logTail(ctx context.Context, release, instance string) []string {
	var out strings.Builder
	err := s.e.cfg.Driver.Logs(ctx, &out, s.name, release, driver.LogOptions{Instance: instance, Tail: 10})
	if err != nil {
		s.log.Warn("read the last lines of an instance", "instance", instance, "error", err)
	}
	text := strings.TrimRight(out.String(), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
