package cli

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"
)

// screen is a terminal on which lines are drawn over those that were drawn before.
type screen struct {
	out io.Writer
	// size returns the screen's width and height, in cells.
	size func() (width, height int)
	// drawn are the widths of the lines on the screen.
	drawn []int
}

// unbounded is the height for what is drawn last, and over which nothing is drawn.
const unbounded = math.MaxInt

// terminalOf returns the terminal behind a stream, if one is and it can be drawn on,
// with as many colours as it has and wants (TERM, COLORTERM, NO_COLOR).
func terminalOf(out io.Writer) (*screen, bool) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		return nil, false
	}
	return &screen{
		out: colorprofile.NewWriter(f, os.Environ()),
		size: func() (int, int) {
			width, height, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		},
	}, true
}

// draw puts lines in the place of those that it has put there before, as many as a
// screen of that height has room for.
func (s *screen) draw(lines []string, height int) {
	width, _ := s.size()
	lines = clip(lines, height-1)
	var b strings.Builder
	if up := rows(s.drawn, width); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r")
	s.drawn = s.drawn[:0]
	for _, l := range lines {
		// A line that the terminal wraps would be two on the screen.
		l = ansi.Truncate(l, width-1, "…")
		s.drawn = append(s.drawn, ansi.StringWidth(l))
		b.WriteString(l + "\x1b[K\n")
	}
	// Only what is left is erased as a whole: some terminals keep a screen that
	// is erased from its top in their history.
	b.WriteString("\x1b[J")
	// A terminal that has gone away has no remedy; the deployment goes on.
	_, _ = io.WriteString(s.out, b.String())
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
