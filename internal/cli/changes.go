package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// allChanges puts in words what has changed from one look at all services to the
// next.
func allChanges(before, after []api.ServiceStatus, now time.Time) []string {
	var lines []string
	for _, s := range after {
		i := slices.IndexFunc(before, func(b api.ServiceStatus) bool { return b.Service == s.Service })
		was := api.ServiceStatus{}
		if i >= 0 {
			was = before[i]
		}
		for _, l := range changes(was, s, now) {
			lines = append(lines, s.Service+" "+l)
		}
	}
	return lines
}

// changes puts in words what has changed from one look at a service to the next,
// counters aside.
func changes(before, after api.ServiceStatus, now time.Time) []string {
	var lines []string
	if d := after.Deployment; d != nil {
		was := api.Deployment{}
		if b := before.Deployment; b != nil && b.ID == d.ID {
			was = *b
		}
		lines = append(lines, deploymentChanges(after.Service, was, *d, now)...)
	}
	if queue := strings.Join(after.Queued, ", "); queue != strings.Join(before.Queued, ", ") {
		lines = append(lines, "waiting in line: "+dash(queue))
	}
	lines = append(lines, instanceChanges(before, after)...)
	switch was, is := before.Hold, after.Hold; {
	case is != nil && (was == nil || !was.Since.Equal(is.Since)):
		lines = append(lines, heldBy(after.Service, *is, now))
	case is == nil && was != nil:
		lines = append(lines, "requests that were held are let go")
	}
	switch was, is := before.Freeze, after.Freeze; {
	case is != nil && (was == nil || !was.Since.Equal(is.Since)):
		lines = append(lines, frozenBy(after.Service, *is, now))
	case is == nil && was != nil:
		lines = append(lines, "deploys are allowed again")
	}
	switch was, is := before.TrafficError, after.TrafficError; {
	case is != "" && was != is:
		lines = append(lines, "the proxy does not answer: "+is)
	case is == "" && was != "":
		lines = append(lines, "the proxy answers again")
	}
	return lines
}

// deploymentChanges tells of a deployment's steps, its pauses and its end.
func deploymentChanges(service string, before, d api.Deployment, now time.Time) []string {
	var lines []string
	say := func(line string) { lines = append(lines, d.ID+": "+line) }
	if before.ID == "" {
		say(goal(d) + because(d.Why))
	}
	if d.AbortRequested && !before.AbortRequested {
		say(oneLine(d.AbortReason))
	}
	was, is := before.Paused, d.Paused
	if is == nil && was != nil && d.Phase == api.PhaseRunning {
		say("it goes on")
	}
	lines = append(lines, stepChanges(before, d)...)
	if is != nil && (was == nil || !was.Since.Equal(is.Since)) {
		say(pausedUntil(service, d, now))
	}
	if st := approving(d); st != nil && approving(before) == nil {
		say(toPromote(service, d, st, now))
	}
	if d.Phase.Final() && !before.Phase.Final() {
		lines = append(lines, strings.TrimPrefix(verdict(service, d), service+" "))
	}
	return lines
}

// stepChanges tells how far a deployment's steps have come. They are kept with it, so
// that none is missed between two looks.
func stepChanges(before, d api.Deployment) []string {
	var lines []string
	back := slices.ContainsFunc(before.Steps, func(st api.StepState) bool { return st.Back })
	for i, st := range d.Steps {
		was := api.StepPending
		if i < len(before.Steps) {
			was = before.Steps[i].Status
		}
		if st.Back && !back {
			back = true
			lines = append(lines, d.ID+": "+takingBack(d))
		}
		lines = append(lines, stepChange(d, i, was)...)
	}
	return lines
}

// stepChange tells how far a step has come.
func stepChange(d api.Deployment, i int, was api.Status) []string {
	st := d.Steps[i]
	if st.Status == was {
		return nil
	}
	line := fmt.Sprintf("%s: %s %s", d.ID, stepNumber(d, i), st)
	switch st.Status {
	case api.StepDone:
		return []string{fmt.Sprintf("%s: done after %s%s", line, rough(st.Ended.Sub(st.Began)), because(st.Outcome.Message))}
	case api.StepFailed:
		return []string{fmt.Sprintf("%s: FAILED after %s%s", line, rough(st.Ended.Sub(st.Began)), because(st.Outcome.Message))}
	case api.StepRunning:
		return []string{line}
	}
	return nil
}

// instanceChanges tells which instances came, went, or changed their state.
func instanceChanges(before, after api.ServiceStatus) []string {
	was, is := instanceStates(before), instanceStates(after)
	var lines []string
	for _, in := range is {
		if !slices.Contains(was, in) {
			lines = append(lines, fmt.Sprintf("%s is %s%s", in.id, in.state, because(in.message)))
		}
	}
	for _, in := range was {
		if !slices.ContainsFunc(is, func(other instanceState) bool { return other.id == in.id }) {
			lines = append(lines, in.id+" is gone")
		}
	}
	return lines
}

type instanceState struct{ id, state, message string }

func instanceStates(s api.ServiceStatus) []instanceState {
	var all []instanceState
	for _, r := range s.Releases {
		for _, in := range r.Instances {
			all = append(all, instanceState{in.ID, string(in.State), in.Message})
		}
	}
	return all
}
