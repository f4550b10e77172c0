package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGoodRelease deploys good releases with every strategy while the service is
// used.
func TestGoodRelease(t *testing.T) {
	eachTrial(t, func(s *stage, tr trial) {
		use := tr.use(s)
		for _, want := range []string{"r2", "r3"} {
			s.contains(s.deploy(tr.good(s), 0), "promoted, "+want+" is stable")
			s.settled(want)
		}
		for _, id := range []string{"d2", "d3"} {
			r := s.receipt(id)
			r.adds(s.t, id)
			if r.Total.Lost > 0 {
				s.t.Errorf("receipt of %s: %+v", id, r.Total)
			}
		}
		use.leave()
	})
}

// TestBadRelease deploys all sorts of bad releases with every strategy while the
// service is used: they are taken back, and stable loses nothing.
func TestBadRelease(t *testing.T) {
	eachTrial(t, func(s *stage, tr trial) {
		use := tr.use(s)
		all := tr.bad(s)
		for i, bad := range all {
			id := fmt.Sprintf("d%d", i+2)
			s.contains(s.deploy(bad.spec, 2), bad.says, "failed and taken back")
			s.settled("r1")
			r := s.receipt(id)
			r.adds(s.t, bad.name)
			if f := r.Total.Failed; f.Connect+f.Unavailable > 0 {
				s.t.Errorf("%s: nobody answered for the dead: %+v", bad.name, f)
			}
			if d := s.status().Deployment; d.ID != id || d.Phase != "failed" {
				s.t.Errorf("%s: %+v", bad.name, d)
			}
			for _, a := range r.Releases {
				if a.Release == "r1" && a.Lost+a.FailedByService+a.FailedBySegue > 0 || r.Total.Lost > 0 && !bad.dies {
					s.t.Errorf("%s: stable lost requests: %+v", bad.name, r.Releases)
				}
			}
		}
		use.leave(all...)
	})
}

// TestAbortAtEachStep aborts a deployment when a step begins, for each step.
func TestAbortAtEachStep(t *testing.T) {
	eachTrial(t, func(s *stage, tr trial) {
		use := tr.use(s)
		s.atEachStep(tr, "abort", `{"reason": "on trial"}`, "aborted")
		use.leave()
	})
}

// TestPromoteAtEachStep promotes a deployment in full when a step begins, for each
// step.
func TestPromoteAtEachStep(t *testing.T) {
	eachTrial(t, func(s *stage, tr trial) {
		use := tr.use(s)
		s.atEachStep(tr, "promote", `{"full": true}`, "promoted")
		use.leave()
	})
}

// atEachStep deploys a good release as often as its plan has steps, and gives a
// command at the beginning of another step each time. A command that comes when
// the deployment has ended is refused.
func (s *stage) atEachStep(tr trial, verb, body, end string) {
	s.t.Helper()
	file := s.write("segue.yaml", tr.good(s).String(), 0o644)
	stable, plan := s.status().Stable, s.plan(file)
	for i := 0; i < len(plan); i++ {
		var code int
		var answer string
		d := s.follow(file, func(ev event) {
			if ev.Kind == "intended" && ev.Data.Step == i && code == 0 {
				code, answer = s.command(ev, verb, body)
			}
		})
		want := end
		switch {
		case code == 409 && d.Phase == "promoted":
			want = "promoted"
		case code != 200:
			s.t.Fatalf("%s at step %d: %d %s", verb, i, code, answer)
		}
		if d.Phase != want {
			s.t.Errorf("%s at step %d (%s): the deployment is %s", verb, i, d.Steps[i].Kind, d.Phase)
		}
		if d.Phase == "promoted" {
			// The next one also retires what is warm now.
			stable, plan = d.Candidate, s.plan(file)
		}
		s.settled(stable)
		if s.t.Failed() {
			s.t.Fatalf("after %s at step %d: %+v", verb, i, d)
		}
	}
}

// TestPauseAtEachStep pauses a deployment in each step and resumes it after the
// step. A pause may come when a quick step is over already, and be one with the next;
// but no step may begin in one.
func TestPauseAtEachStep(t *testing.T) {
	eachTrial(t, func(s *stage, tr trial) {
		use := tr.use(s)
		file := s.write("segue.yaml", tr.good(s).String(), 0o644)
		steps := len(s.plan(file))
		var paused, busy bool
		pauses, resumes := 0, 0
		give := func(ev event, verb, body string) {
			if code, answer := s.command(ev, verb, body); code != 200 && code != 409 {
				s.t.Errorf("%s: %d %s", verb, code, answer)
			}
		}
		d := s.follow(file, func(ev event) {
			switch ev.Kind {
			case "intended":
				if paused {
					s.t.Errorf("step %d began in a pause", ev.Data.Step)
				}
				busy = true
				give(ev, "pause", `{"for": "1m", "then": "abort"}`)
			case "did":
				busy = false
			case "pause-requested":
				paused = true
				pauses++
			case "resumed":
				paused = false
				resumes++
			}
			if paused && !busy && (ev.Kind == "did" || ev.Kind == "pause-requested") {
				give(ev, "resume", "{}")
			}
		})
		if d.Phase != "promoted" || resumes == 0 || pauses < resumes {
			s.t.Errorf("%s after %d pauses and %d resumptions in %d steps: %s", d.Phase, pauses, resumes, steps, d.Reason)
		}
		s.settled(d.Candidate)
		use.leave()
	})
}

// TestKilledAtEachStep kills the daemon with SIGKILL after every event of one
// deployment: every daemon goes on from where the one before it died. Then it does
// the same with the way back of a release that fails late.
func TestKilledAtEachStep(t *testing.T) {
	eachTrial(t, func(s *stage, tr trial) {
		use := tr.use(s)
		file := s.write("segue.yaml", tr.good(s).String(), 0o644)
		s.killAlong(file, s.crashPoints(file, "d2"))
		s.ended("d2", "promoted")
		s.settled("r2")

		late := s.write("late.yaml", tr.late(s).String(), 0o644)
		points := s.pointsBack(late)
		s.ended("d3", "failed")
		s.killAlong(late, points("d4"))
		s.ended("d4", "failed")
		s.settled("r2")
		use.leave()
	})
}

// pointsBack has a deployment fail, and returns the events of its way back at which
// the daemon can be killed, for a deployment that fails in the same way.
func (s *stage) pointsBack(file string) func(deployment string) []string {
	s.t.Helper()
	var points []string
	back := false
	s.follow(file, func(ev event) {
		back = back || ev.Kind == "failed"
		switch {
		case !back:
		case ev.Kind == "intended" || ev.Kind == "did" || ev.Kind == "failed":
			points = append(points, fmt.Sprintf("%s/%d", ev.Kind, ev.Data.Step))
		case ev.Kind == "turned-back" || ev.Kind == "finished":
			points = append(points, ev.Kind)
		}
	})
	if len(points) < 4 {
		s.t.Fatalf("the way back has no steps: %v", points)
	}
	return func(deployment string) []string {
		all := slices.Clone(points)
		for i := range all {
			all[i] = "web/" + deployment + "/" + all[i]
		}
		return all
	}
}

// killAlong deploys, with a daemon that dies at the first of the points and is
// started anew to die at the next, up to the last; the daemon after that lives.
func (s *stage) killAlong(file string, points []string) {
	s.t.Helper()
	if err := s.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	<-s.Ended()
	for i, point := range points {
		s.Env = []string{"SEGUE_CRASH_AFTER=" + point}
		if i == 0 {
			s.serve()
			s.Run(s.t.Context(), "deploy", "-f", file, "--wait=false")
		} else if _, err := s.Start(); err != nil {
			s.t.Fatal(err)
		}
		select {
		case <-s.Ended():
		case <-time.After(time.Minute):
			s.t.Fatalf("the daemon did not come to %s: %+v", point, s.status())
		}
	}
	s.Env = nil
	s.serve()
}

// ended waits for the end of a deployment, the last one, and fails if it is another.
func (s *stage) ended(id, phase string) {
	s.t.Helper()
	var d deployment
	eventually(s.t, "the end of "+id, func() bool {
		d = s.status().Deployment
		return d.ID == id && d.final()
	})
	if d.Phase != phase {
		s.t.Fatalf("%s is %s, want %s: %s\n%+v", id, d.Phase, phase, d.Reason, d.Steps)
	}
}

// settled fails unless a release is stable, with all traffic and all its instances,
// and nothing else runs but what is warm, nor is anything held.
func (s *stage) settled(stable string) {
	s.t.Helper()
	st := s.status()
	if st.Stable != stable {
		s.t.Errorf("stable is %s, want %s: %+v", st.Stable, stable, st)
	}
	weights := map[string]int{}
	for _, r := range st.Releases {
		if r.Weight > 0 {
			weights[r.ID] = r.Weight
		}
		if want := "stable"; r.ID == stable && r.Role != want || r.ID != stable && r.Role != "warm" || len(r.Instances) != r.Want {
			s.t.Errorf("%s is %s with %d of %d instances", r.ID, r.Role, len(r.Instances), r.Want)
		}
		for _, in := range r.Instances {
			if in.State != "ready" {
				s.t.Errorf("%s is %s", in.ID, in.State)
			}
		}
	}
	// A worker has no weights.
	if len(weights) > 0 && !maps.Equal(weights, map[string]int{stable: 100}) {
		s.t.Errorf("weights: %v", weights)
	}
	s.onlyThese(st, st.Deployment.ID)
}

// event is one of a deployment, as `segue deploy -o json` prints it.
type event struct {
	At         time.Time
	Deployment int
	Kind       string
	Data       struct {
		Step int
		Plan []step
	}
}

// plan is what a deployment would do now.
func (s *stage) plan(file string) []step {
	s.t.Helper()
	var plan struct{ Steps []step }
	if err := s.JSON(s.t.Context(), &plan, "plan", "-f", file); err != nil {
		s.t.Fatal(err)
	}
	return plan.Steps
}

// follow deploys and hands on each event as it comes. It returns the deployment
// when it has ended.
func (s *stage) follow(file string, on func(ev event)) deployment {
	s.t.Helper()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- s.Stream(s.t.Context(), in, &stderr, "deploy", "-f", file, "-o", "json")
		in.Close()
	}()
	number := 0
	for events := json.NewDecoder(out); ; {
		var ev event
		if err := events.Decode(&ev); err == io.EOF {
			break
		} else if err != nil {
			s.t.Fatalf("the events of a deployment: %v", err)
		}
		number = ev.Deployment
		on(ev)
	}
	ended := <-code
	d := s.status().Deployment
	want, known := map[string]int{"promoted": 0, "failed": 2, "aborted": 3}[d.Phase]
	if !known || ended != want || d.ID != fmt.Sprintf("d%d", number) {
		s.t.Fatalf("exit code %d, %s is %s: %s", ended, d.ID, d.Phase, strings.TrimSpace(stderr.String()))
	}
	return d
}
