package cli

import (
	"fmt"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/segue-deploy/segue/internal/api"
)

// liveState is what a terminal shows of a deployment, as a value.
type liveState struct {
	service string
	d       api.Deployment
	// note is the last progress within the step that runs.
	note string
	// lostUntil is set while no daemon answers: when to give up.
	lostUntil time.Time
	// whole: nothing is drawn over it any more.
	whole bool
}

// indent is where the steps' words begin: after a mark and a time.
const indent = "              "

// lines is pure. When there are more than height, steps far from the one that is
// being done are summed up.
func (s liveState) lines(now time.Time, width, height int, st liveStyles) []string {
	d := s.d
	var head []string
	if d.ID != "" {
		head = append(head, st.bold.Render(s.service+" "+d.ID+": "+goal(d)+because(d.Why))+st.faint.Render(from(d)))
	}
	foot := s.situation(now, width, st)
	if !s.lostUntil.IsZero() {
		foot = append(foot, styled(wrap(gone(s.lostUntil), width-1, "  "), st.bad)...)
	}
	var blocks []block
	for _, step := range d.Steps {
		blocks = append(blocks, block{step.Status, s.stepLines(step, now, width, st)})
	}
	lines := append(head, fold(blocks, standing(d), height-len(head)-len(foot), st)...)
	return append(lines, foot...)
}

// stepLines are a step, and what there is to say about it.
func (s liveState) stepLines(step api.StepState, now time.Time, width int, st liveStyles) []string {
	lines := []string{liveStep(step, now, st)}
	switch {
	case step.Status == api.StepFailed:
		lines = append(lines, styled(wrap(step.Outcome.Message, width-1, indent), st.bad)...)
		lines = append(lines, styled(tailLines(s.d.LogTail, indent), st.faint)...)
	case step.Status != api.StepRunning:
	case step.Kind == api.StepApprove && !step.Approved:
		lines = append(lines, styled(wrap(toPromote(s.service, s.d, &step, now), width-1, indent), st.bold)...)
	case s.note != "":
		lines = append(lines, st.faint.Render(indent+oneLine(s.note)))
	}
	return lines
}

// situation is what there is to say about the deployment as a whole.
func (s liveState) situation(now time.Time, width int, st liveStyles) []string {
	d := s.d
	switch {
	case d.Phase == api.PhasePromoted:
		return styled(wrap(verdict(s.service, d), width-1, ""), st.good)
	case d.Phase == api.PhaseFailed:
		// Its reason stands at the step that failed.
		d.Reason = ""
		return styled(wrap(verdict(s.service, d), width-1, ""), st.bad)
	case d.Phase.Final():
		return styled(wrap(verdict(s.service, d), width-1, ""), st.bad)
	case d.AbortRequested:
		return styled(wrap(d.AbortReason, width-1, "  "), st.bad)
	case d.Phase == api.PhaseQueued:
		return []string{st.faint.Render("  waits for its turn")}
	}
	var lines []string
	if held := holds(d); held != nil {
		lines = append(lines, styled(wrap(heldSince(held, now), width-1, "  "), st.bold)...)
	}
	if d.Paused != nil {
		lines = append(lines, styled(wrap(pausedUntil(s.service, d, now), width-1, "  "), st.bold)...)
	}
	return lines
}

func styled(lines []string, style lipgloss.Style) []string {
	for i, l := range lines {
		lines[i] = style.Render(l)
	}
	return lines
}

func liveStep(step api.StepState, now time.Time, st liveStyles) string {
	text := step.String()
	if step.Back {
		text = "back: " + text
	}
	line := func(mark, took, text string) string { return fmt.Sprintf("  %s %8s  %s", mark, took, text) }
	took := rough(step.Ended.Sub(step.Began))
	switch step.Status {
	case api.StepDone:
		return line(st.good.Render("✓"), took, text) + st.faint.Render(because(step.Outcome.Message))
	case api.StepRunning:
		return st.active.Render(line("▸", roughly(now.Sub(step.Began)), text))
	case api.StepFailed:
		return st.bad.Render(line("✗", took, text))
	case api.StepSkipped:
		return st.faint.Render(line("-", "", text+" (skipped)"))
	}
	return st.faint.Render(line("·", "", text))
}

// goal is what a deployment wants.
func goal(d api.Deployment) string {
	switch d.Kind {
	case api.KindRollback:
		return "roll back to " + d.Candidate
	case api.KindRestart:
		return "restart as " + d.Candidate
	case api.KindScale:
		return fmt.Sprintf("scale %s to %s", d.Candidate, count(d.Instances, "instance"))
	}
	return "deploy " + d.Candidate
}

// from is where it begins.
func from(d api.Deployment) string {
	switch {
	case d.Stable != "":
		return "  stable is " + d.Stable
	case d.Phase == api.PhaseQueued:
		return ""
	}
	return "  no stable release yet"
}
