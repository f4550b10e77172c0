package drivertest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// The steps that the tests of the suite are made of.

func (s *suite) ensure(r driver.Release, n int) {
	s.Helper()
	if err := s.Driver.Ensure(s.ctx, r, n); err != nil {
		s.Fatalf("Ensure %d of %s %s: %v", n, r.Service, r.ID, err)
	}
}

// ensureFor calls Ensure with a limit of time.
func (s *suite) ensureFor(limit time.Duration, r driver.Release, n int) error {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	return s.Driver.Ensure(ctx, r, n)
}

// refused holds Check and Ensure to an error with want in it, and to nothing else.
func (s *suite) refused(r driver.Release, want string) {
	s.Helper()
	_, checked := s.Driver.Check(s.ctx, r)
	for what, err := range map[string]error{"Check": checked, "Ensure": s.Driver.Ensure(s.ctx, r, 1)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			s.Errorf("%s: got %v, want %q in it", what, err, want)
		}
	}
	s.gone(r.Service, r.ID)
}

func (s *suite) remove(service, release string) {
	s.Helper()
	if err := s.Driver.Remove(s.ctx, service, release); err != nil {
		s.Fatalf("Remove %s %s: %v", service, release, err)
	}
}

// list returns the release's instances.
func (s *suite) list(service, release string) []driver.Instance {
	s.Helper()
	all, err := s.Driver.List(s.ctx)
	if err != nil {
		s.Fatalf("List: %v", err)
	}
	return slices.DeleteFunc(all, func(in driver.Instance) bool {
		return in.Service != service || in.Release != release
	})
}

// until waits for done by the driver's Watch alone, so that a change that isn't
// told is found out.
func (s *suite) until(what string, done func() bool) {
	s.Helper()
	changes := s.Driver.Watch(s.ctx)
	for !done() {
		select {
		case <-changes:
		case <-s.ctx.Done():
			list, _ := s.Driver.List(s.Context())
			s.Fatalf("not %s before the end of patience: %+v", what, list)
		}
	}
}

// allReady waits until exactly n instances of the release exist and are ready.
func (s *suite) allReady(service, release string, n int) []driver.Instance {
	s.Helper()
	var list []driver.Instance
	s.until("ready", func() bool {
		list = s.list(service, release)
		return len(list) == n && !slices.ContainsFunc(list, func(in driver.Instance) bool { return in.State != driver.Ready })
	})
	return list
}

// failed waits until the release's only instance has failed and its process has
// ended.
func (s *suite) failed(service, release string) driver.Instance {
	s.Helper()
	var list []driver.Instance
	s.until("failed", func() bool {
		list = s.list(service, release)
		return len(list) == 1 && list[0].State == driver.Failed && list[0].Pid == 0
	})
	if list[0].Message == "" {
		s.Errorf("a failed instance has no message: %+v", list[0])
	}
	return list[0]
}

func (s *suite) gone(service, release string) {
	s.Helper()
	s.alive(service, release, 0)
	if list := s.list(service, release); len(list) != 0 {
		s.Errorf("removed and still there: %+v", list)
	}
}

func (s *suite) alive(service, release string, want int) {
	s.Helper()
	if got := s.Alive(service, release); got != want {
		s.Errorf("%d instances of %s %s live, want %d", got, service, release, want)
	}
}

// same holds two lists of the same instances against each other: nothing may
// have been started again in between.
func (s *suite) same(before, after []driver.Instance) {
	s.Helper()
	equal := slices.EqualFunc(before, after, func(a, b driver.Instance) bool {
		return a.ID == b.ID && a.Pid == b.Pid && a.Target == b.Target && a.Restarts == b.Restarts && a.Started.Equal(b.Started)
	})
	if !equal {
		s.Errorf("not the same instances:\nbefore %+v\nafter  %+v", before, after)
	}
}

// logs holds the logs of web's r1 against want.
func (s *suite) logs(what string, o driver.LogOptions, want string) {
	s.Helper()
	var got bytes.Buffer
	if err := s.Driver.Logs(s.ctx, &got, "web", "r1", o); err != nil {
		s.Errorf("%s: %v", what, err)
	}
	if got.String() != want {
		s.Errorf("%s: got %q, want %q", what, got.String(), want)
	}
}

// lineCounter closes reached when it has got as many lines as it wants.
type lineCounter struct {
	text    bytes.Buffer
	want    int
	reached chan struct{}
}

func (l *lineCounter) Write(p []byte) (int, error) {
	had := bytes.Count(l.text.Bytes(), []byte("\n"))
	n, err := l.text.Write(p)
	if has := bytes.Count(l.text.Bytes(), []byte("\n")); had < l.want && has >= l.want {
		close(l.reached)
	}
	return n, err
}
