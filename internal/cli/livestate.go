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

// lines is pure.
func (s liveState) lines(now time.Time, width int, st liveStyles) []string {
	d := s.d
	var lines []string
	if d.ID != "" {
		lines = append(lines, st.bold.Render(s.service+" "+d.ID+": "+goal(d)+because(d.Why))+st.faint.Render(from(d)))
	}
	for _, step := range d.Steps {
		lines = append(lines, liveStep(step, now, st))
		switch {
		case step.Status == api.StepRunning && s.note != "":
			lines = append(lines, st.faint.Render(indent+oneLine(s.note)))
		case step.Status == api.StepFailed:
			lines = append(lines, styled(wrap(step.Outcome.Message, width-1, indent), st.bad)...)
			lines = append(lines, styled(tailLines(d.LogTail, indent), st.faint)...)
		}
	}
	lines = append(lines, s.situation(width, st)...)
	if !s.lostUntil.IsZero() {
		lines = append(lines, styled(wrap(gone(s.lostUntil), width-1, "  "), st.bad)...)
	}
	return lines
}

// situation is what there is to say about the deployment as a whole.
func (s liveState) situation(width int, st liveStyles) []string {
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
	case d.Phase == api.PhaseQueued && !d.AbortRequested:
		return []string{st.faint.Render("  waits for its turn")}
	case d.AbortRequested:
		return styled(wrap(d.AbortReason, width-1, "  "), st.bad)
	}
	return nil
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
	if d.Rollback {
		return "roll back to " + d.Candidate
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
