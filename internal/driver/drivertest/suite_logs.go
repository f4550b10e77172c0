package drivertest

import (
	"bytes"
	"context"
	"errors"

	"github.com/segue-deploy/segue/internal/driver"
)

// Logs: of all instances or one, followed, and after their end.

func logsOfAllAndOne(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{Prints: []string{"one", "two", "three"}}), 2)
	s.allReady("web", "r1", 2)
	s.logs("all", driver.LogOptions{Tail: -1},
		"web-r1-1| one\nweb-r1-1| two\nweb-r1-1| three\nweb-r1-2| one\nweb-r1-2| two\nweb-r1-2| three\n")
	s.logs("tail", driver.LogOptions{Tail: 1}, "web-r1-1| three\nweb-r1-2| three\n")
	s.logs("no tail", driver.LogOptions{}, "")
	s.logs("one instance", driver.LogOptions{Instance: "web-r1-2", Tail: 2}, "two\nthree\n")
	for _, c := range []struct{ service, release, instance string }{
		{"web", "r9", ""}, {"nobody", "r1", ""}, {"web", "r1", "web-r1-9"}, {"..", "..", ""}, {"web", "r1", "../r1/web-r1-1"},
	} {
		if err := s.Driver.Logs(s.ctx, &bytes.Buffer{}, c.service, c.release, driver.LogOptions{Instance: c.instance}); err == nil {
			s.Errorf("logs of %s %s %q, which has never run, are no error", c.service, c.release, c.instance)
		}
	}
}

func logsFollow(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{Prints: []string{"hello"}}), 1)
	in := s.allReady("web", "r1", 1)[0]
	ctx, cancel := context.WithCancel(s.ctx)
	lines := &lineCounter{want: 2, reached: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- s.Driver.Logs(ctx, lines, "web", "r1", driver.LogOptions{Tail: -1, Follow: true}) }()
	s.Kill(in) // prints again when it is started again
	select {
	case <-lines.reached:
	case <-s.ctx.Done():
		s.Error("the second start's line hasn't come")
	}
	cancel()
	if err := <-done; err != nil {
		s.Errorf("the end of following is an error: %v", err)
	}
	if got, want := lines.text.String(), "web-r1-1| hello\nweb-r1-1| hello\n"; got != want {
		s.Errorf("got %q, want %q", got, want)
	}
}

func logsOutliveRelease(s *suite) {
	s.ensure(s.Release("web", "r1", Behavior{Prints: []string{"last words"}}), 1)
	s.allReady("web", "r1", 1)
	collect := func(keep bool) {
		err := s.Driver.CollectLogs(s.ctx, func(service, release string) bool {
			if service != "web" || release != "r1" {
				s.Errorf("asked whether to keep the logs of %s %s", service, release)
			}
			return keep
		})
		if err != nil {
			s.Error(err)
		}
	}
	collect(false)
	s.logs("of one that runs", driver.LogOptions{Tail: -1}, "web-r1-1| last words\n")
	s.remove("web", "r1")
	collect(true)
	s.Driver = s.Restart()
	s.logs("of one that ran", driver.LogOptions{Tail: -1}, "web-r1-1| last words\n")
	collect(false)
	if err := s.Driver.Logs(s.ctx, &bytes.Buffer{}, "web", "r1", driver.LogOptions{Tail: -1}); !errors.Is(err, driver.ErrNoLogs) {
		s.Errorf("logs that were collected: %v", err)
	}
}
