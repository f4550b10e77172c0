package cli

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/segue-deploy/segue/internal/api"
)

// What a service prints, or a message quotes of it, is shown without what would
// move the cursor or change the terminal.

// plain returns a text's lines as they may be shown.
func plain(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, plainLine(line))
	}
	return lines
}

func plainLine(line string) string {
	line = ansi.Strip(strings.ToValidUTF8(line, "�"))
	line = strings.ReplaceAll(strings.TrimRight(line, "\r"), "\t", "    ")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, line)
}

// oneLine is a text on one line, for tables and log lines.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Join(plain(text), " ")), " ")
}

// wrap breaks a text into lines of at most width cells, each after an indent.
func wrap(text string, width int, indent string) []string {
	var lines []string
	for _, line := range plain(text) {
		for l := range strings.SplitSeq(ansi.Wrap(line, max(20, width-len(indent)), " "), "\n") {
			lines = append(lines, indent+strings.TrimRight(l, " "))
		}
	}
	return lines
}

// rough rounds a duration to what a person wants to read.
func rough(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return coarse(d.Round(time.Second))
	}
}

// roughly is a running time, which should not flicker.
func roughly(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", max(0, d).Truncate(100*time.Millisecond).Seconds())
	}
	return coarse(d.Truncate(time.Second))
}

// coarse leaves out units that are zero: 1h30m rather than 1h30m0s.
func coarse(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ago is how long ago a time was; one that is not known is a dash.
func ago(now, t time.Time) string {
	d := max(0, now.Sub(t))
	switch {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return coarse(d.Round(time.Second)) + " ago"
	case d < 48*time.Hour:
		return coarse(d.Round(time.Minute)) + " ago"
	default:
		return t.Local().Format("2006-01-02 15:04")
	}
}

// clock is a time of this day, or of another with its date.
func clock(now, t time.Time) string {
	now, t = now.Local(), t.Local()
	if now.YearDay() == t.YearDay() && now.Year() == t.Year() {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// who says who has done something, and why: "paused by ann: lunch".
func who(a api.Actor, verb string) string {
	if a.By != "" {
		verb += " by " + a.By
	}
	return verb + because(a.Reason)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + oneLine(reason)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count is a number of things.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
