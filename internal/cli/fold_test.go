package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// long is a deployment of n steps that stands at one of them.
func long(n, at int) api.Deployment {
	s := &script{service: "web", now: start()}
	var plan []api.Step
	for i := range n {
		plan = append(plan, api.Step{Kind: "retire", Release: fmt.Sprintf("r%d", 100+i)})
	}
	s.after(0, api.Requested{Candidate: "r2", Kind: api.KindDeploy}).after(0, api.Began{Stable: "r1", Plan: plan})
	for i := range at {
		s.after(0, api.Intended{Step: i}).after(time.Second, did(i, ""))
	}
	return s.after(0, api.Intended{Step: at}).d
}

// TestLongPlan has room on every screen, and shows the step that is being done.
func TestLongPlan(t *testing.T) {
	for _, test := range []struct {
		at, height int
		want       string
	}{
		{0, 8, `
web d2: deploy r2  stable is r1
  ▸     0.0s  retire r100: stop its instances
  ·           retire r101: stop its instances
  ·           retire r102: stop its instances
  ·           retire r103: stop its instances
  ·           retire r104: stop its instances
  ·           retire r105: stop its instances
  ·           24 steps to come
`},
		{15, 8, `
web d2: deploy r2  stable is r1
  ✓           13 steps done
  ✓       1s  retire r113: stop its instances
  ✓       1s  retire r114: stop its instances
  ▸     0.0s  retire r115: stop its instances
  ·           retire r116: stop its instances
  ·           retire r117: stop its instances
  ·           12 steps to come
`},
		{29, 6, `
web d2: deploy r2  stable is r1
  ✓           26 steps done
  ✓       1s  retire r126: stop its instances
  ✓       1s  retire r127: stop its instances
  ✓       1s  retire r128: stop its instances
  ▸     0.0s  retire r129: stop its instances
`},
	} {
		d := long(30, test.at)
		now := d.Steps[test.at].Began
		got := strings.Join(liveState{service: "web", d: d}.lines(now, 80, test.height, liveStyles{}), "\n") + "\n"
		expectText(t, got, test.want)
	}
	for _, height := range []int{0, 1, 3, 5, 8, 13, 21, 34} {
		for at := range 30 {
			d := long(30, at)
			lines := liveState{service: "web", d: d}.lines(d.Steps[at].Began, 80, height, liveStyles{})
			if len(lines) > max(height, 4) {
				t.Errorf("%d lines where there is room for %d", len(lines), height)
			}
			if !strings.Contains(strings.Join(lines, "\n"), fmt.Sprintf("▸     0.0s  retire r%d", 100+at)) {
				t.Errorf("step %d is not among\n%s", at, strings.Join(lines, "\n"))
			}
		}
	}
}

// TestFoldedFailure: what has failed, and why, is never summed up.
func TestFoldedFailure(t *testing.T) {
	s := failed()
	got := strings.Join(liveState{service: "web", d: s.d}.lines(s.now, 80, 9, liveStyles{}), "\n") + "\n"
	expectText(t, got, `
web d2: deploy r2: hotfix  stable is r1
  ✗     1.5s  start 2 instances of r2 and wait until ready (at most 1m0s)
              web-r2-1: exited with code 3 after 1.5s
              its last lines:
              | panic:    no database
              | goodbye
  -           2 steps skipped
  ✓     20ms  back: retire r2: stop its instances
web d2: failed and taken back (1.52s)
`)
}

// TestStanding is where a deployment stands.
func TestStanding(t *testing.T) {
	for want, d := range map[int]api.Deployment{-1: {}, 0: good().until(2), 1: good().until(6), 2: good().d} {
		if got := standing(d); got != want {
			t.Errorf("%s stands at %d, want %d", d.Phase, got, want)
		}
	}
}
