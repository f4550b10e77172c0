package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/segue-deploy/segue/internal/api"
)

// redrawEvery is how often running times are brought up to date.
const redrawEvery = 100 * time.Millisecond

// liveView redraws the plan in place: what is done, what runs and since when,
// what is to come. Redrawing lines is enough for that; nothing here takes input.
type liveView struct {
	out     io.Writer
	service string

	mu sync.Mutex
	d  api.Deployment
	// note is the last progress within the step that runs.
	note string
	// drawn is how many lines are on the screen.
	drawn int
	stop  chan struct{}
	ended sync.WaitGroup
}

// styles of the view; lipgloss leaves the colours out where there are none.
type liveStyles struct{ good, bad, active, faint, bold lipgloss.Style }

func newStyles() liveStyles {
	return liveStyles{
		good:   lipgloss.NewStyle().Foreground(lipgloss.Green),
		bad:    lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
		active: lipgloss.NewStyle().Foreground(lipgloss.Cyan),
		faint:  lipgloss.NewStyle().Faint(true),
		bold:   lipgloss.NewStyle().Bold(true),
	}
}

func newLiveView(out io.Writer, service string) *liveView {
	v := &liveView{out: out, service: service, stop: make(chan struct{})}
	v.ended.Go(func() {
		tick := time.NewTicker(redrawEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				v.draw(time.Now())
			case <-v.stop:
				return
			}
		}
	})
	return v
}

func (v *liveView) event(ev api.Event, d api.Deployment) {
	v.mu.Lock()
	v.d = d
	switch b := ev.Body.(type) {
	case api.Intended:
		v.note = ""
	case api.Noted:
		v.note = b.Message
	}
	v.mu.Unlock()
	v.draw(ev.At)
}

func (v *liveView) close() {
	close(v.stop)
	v.ended.Wait()
	v.draw(time.Now())
}

// draw replaces what it drew before.
func (v *liveView) draw(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.d.ID == "" {
		return
	}
	width := 80
	if f, ok := v.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = w
		}
	}
	lines := liveLines(v.service, v.d, v.note, now, newStyles())
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	b.WriteString("\r\x1b[J")
	for _, l := range lines {
		// A wrapped line would be two on the screen.
		b.WriteString(ansi.Truncate(l, width-1, "…") + "\x1b[0m\n")
	}
	v.drawn = len(lines)
	_, _ = io.WriteString(v.out, b.String())
}

// liveLines is what a terminal shows of a deployment. It is pure.
func liveLines(service string, d api.Deployment, note string, now time.Time, st liveStyles) []string {
	lines := []string{st.bold.Render(fmt.Sprintf("%s %s: %s", service, d.ID, d.Candidate)) + st.faint.Render("  "+from(d))}
	for _, step := range d.Steps {
		lines = append(lines, "  "+liveStep(step, now, st))
		if step.Status == api.StepRunning && note != "" {
			lines = append(lines, st.faint.Render("      "+note))
		}
	}
	for _, l := range tailLines(d.LogTail) {
		lines = append(lines, st.faint.Render(l))
	}
	switch {
	case d.Phase == api.PhasePromoted:
		lines = append(lines, st.good.Render(verdict(service, d)))
	case d.Phase.Final():
		lines = append(lines, wrapVerdict(verdict(service, d), st)...)
	case d.Phase == api.PhaseQueued:
		lines = append(lines, st.faint.Render("  waits for its turn"))
	}
	return lines
}

// wrapVerdict keeps a long reason whole: it is what the reader came for.
func wrapVerdict(text string, st liveStyles) []string {
	var lines []string
	for l := range strings.SplitSeq(ansi.Wordwrap(text, 76, ""), "\n") {
		lines = append(lines, st.bad.Render(l))
	}
	return lines
}

func liveStep(step api.StepState, now time.Time, st liveStyles) string {
	text := step.String()
	if step.Back {
		text = "back: " + text
	}
	switch step.Status {
	case api.StepDone:
		return fmt.Sprintf("%s %s %s", st.good.Render("✓"), text,
			st.faint.Render(rough(step.Ended.Sub(step.Began))+because(step.Outcome.Message)))
	case api.StepRunning:
		return fmt.Sprintf("%s %s %s", st.active.Render("▸"), text, st.active.Render(roughly(now.Sub(step.Began))))
	case api.StepFailed:
		return fmt.Sprintf("%s %s", st.bad.Render("✗"), text)
	case api.StepSkipped:
		return st.faint.Render("- " + text + " (skipped)")
	}
	return st.faint.Render("· " + text)
}

func from(d api.Deployment) string {
	if d.Stable == "" {
		return "no stable release yet"
	}
	return "stable is " + d.Stable
}

// roughly is a running time, which should not flicker.
func roughly(d time.Duration) string {
	return max(0, d).Truncate(100 * time.Millisecond).String()
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
