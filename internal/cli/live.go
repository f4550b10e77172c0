package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/segue-deploy/segue/internal/api"
)

// redrawEvery is how often running times are brought up to date.
const redrawEvery = 100 * time.Millisecond

// liveView redraws the plan in place: what is done, what runs and since when,
// what is to come. Redrawing lines is enough for that; nothing here takes input.
type liveView struct {
	out io.Writer
	// size returns the screen's width and height, in cells.
	size func() (width, height int)

	mu  sync.Mutex
	now liveState
	// drawn are the widths of the lines on the screen.
	drawn []int
	stop  chan struct{}
	ended sync.WaitGroup
}

// newLiveView draws on a terminal, with as many colours as it has and wants
// (TERM, COLORTERM, NO_COLOR).
func newLiveView(terminal *os.File, service string) *liveView {
	v := &liveView{
		out: colorprofile.NewWriter(terminal, os.Environ()),
		size: func() (int, int) {
			width, height, err := term.GetSize(int(terminal.Fd()))
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		},
		now:  liveState{service: service},
		stop: make(chan struct{}),
	}
	v.ended.Go(v.tick)
	return v
}

func (v *liveView) tick() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.change(func(*liveState) {})
		case <-v.stop:
			return
		}
	}
}

func (v *liveView) event(ev api.Event, d api.Deployment) {
	v.change(func(s *liveState) {
		s.d = d
		switch b := ev.Body.(type) {
		case api.Intended:
			s.note = ""
		case api.Noted:
			s.note = b.Message
		}
	})
}

func (v *liveView) lost(until time.Time) { v.change(func(s *liveState) { s.lostUntil = until }) }

func (v *liveView) found() { v.change(func(s *liveState) { s.lostUntil = time.Time{} }) }

// close leaves the whole of it on the screen.
func (v *liveView) close() {
	close(v.stop)
	v.ended.Wait()
	v.change(func(s *liveState) { s.whole = true })
}

// change draws what has changed over what was drawn before.
func (v *liveView) change(f func(*liveState)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(&v.now)
	if v.now.d.ID == "" && v.now.lostUntil.IsZero() {
		return
	}
	width, height := v.size()
	lines := v.now.lines(time.Now(), width, newStyles())
	if !v.now.whole {
		lines = clip(lines, height-1)
	}
	var b strings.Builder
	if up := rows(v.drawn, width); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r")
	v.drawn = v.drawn[:0]
	for _, l := range lines {
		// A line that the terminal wraps would be two on the screen.
		l = ansi.Truncate(l, width-1, "…")
		v.drawn = append(v.drawn, ansi.StringWidth(l))
		b.WriteString(l + "\x1b[K\n")
	}
	// Only what is left is erased as a whole: some terminals keep a screen that
	// is erased from its top in their history.
	b.WriteString("\x1b[J")
	// A terminal that has gone away has no remedy; the deployment goes on.
	_, _ = io.WriteString(v.out, b.String())
}

// rows is how many rows lines take that were drawn when the screen may have
// been wider.
func rows(drawn []int, width int) int {
	n := 0
	for _, w := range drawn {
		n += max(1, (w+width-1)/width)
	}
	return n
}

// clip leaves out lines in the middle that the screen has no room for: the cursor
// can't go back to what has scrolled away.
func clip(lines []string, height int) []string {
	if len(lines) <= height || height < 4 {
		return lines[max(0, len(lines)-max(1, height)):]
	}
	return append([]string{lines[0], "  …"}, lines[len(lines)-height+2:]...)
}

// liveStyles are the view's looks; the zero value has none.
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

func isTerminal(out io.Writer) (*os.File, bool) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	kind := os.Getenv("TERM")
	return f, kind != "" && kind != "dumb"
}
