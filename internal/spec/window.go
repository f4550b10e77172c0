package spec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	// The zones of windows must be known on machines without a zone database.
	_ "time/tzdata"
)

// frozenAhead is how far into the future Frozen looks for the end of windows that
// follow each other without a gap.
const frozenAhead = 28 * 24 * time.Hour

// Frozen says whether deploys are refused at now, and until when. Windows that
// overlap or touch count as one; of those without an end, until is some weeks
// ahead.
func (s *Spec) Frozen(now time.Time) (until time.Time, frozen bool) {
	until = now
	for longer := true; longer && until.Sub(now) < frozenAhead; {
		longer = false
		for _, w := range s.Freeze {
			if end := w.end(until); end.After(until) {
				until, longer = end, true
			}
		}
	}
	return until, until.After(now)
}

// end returns when the window that t is in ends; t itself when it is in none.
func (w Window) end(t time.Time) time.Time {
	zone, err := w.location()
	if err != nil {
		return t
	}
	today := t.In(zone)
	for _, offset := range []int{-1, 0} { // yesterday's may go on over midnight
		day := date{today.Year(), today.Month(), today.Day() + offset}
		if begin, end := w.on(day, zone); w.has(day) && !begin.After(t) && end.After(t) {
			return end.In(t.Location())
		}
	}
	return t
}

// location returns the window's zone.
func (w Window) location() (*time.Location, error) {
	if w.Zone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(w.Zone)
}

// date is a day of the calendar; one past the end of a month is in the next.
type date struct {
	year  int
	month time.Month
	day   int
}

// has says whether the window begins on that day.
func (w Window) has(d date) bool {
	weekday := time.Date(d.year, d.month, d.day, 0, 0, 0, 0, time.UTC).Weekday()
	return len(w.Days) == 0 || slices.Contains(w.Days, weekdays()[weekday])
}

// weekdays are the names of the days, in the order of [time.Weekday].
func weekdays() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

// on returns when the window that begins on that day begins and ends.
func (w Window) on(d date, zone *time.Location) (begin, end time.Time) {
	from, to := minutesOf(w.From), minutesOf(w.To)
	if to <= from {
		to += 24 * 60
	}
	begin, _ = clockShows(d, from, zone)
	_, end = clockShows(d, to, zone)
	return begin, end
}

// clockShows returns the first and the last time at which a clock in the zone
// shows so many minutes after midnight. They are two in the hour that comes twice
// when clocks are put back; of one that is left out, they are the times that clocks
// would show it by the offsets before and after.
func clockShows(d date, minutes int, zone *time.Location) (first, last time.Time) {
	clock := time.Date(d.year, d.month, d.day, 0, minutes, 0, 0, time.UTC)
	var shown, meant []time.Time
	for _, near := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		_, offset := clock.Add(near).In(zone).Zone()
		t := clock.Add(-time.Duration(offset) * time.Second)
		meant = append(meant, t)
		if _, there := t.In(zone).Zone(); there == offset {
			shown = append(shown, t)
		}
	}
	if len(shown) == 0 {
		shown = meant
	}
	return slices.MinFunc(shown, time.Time.Compare), slices.MaxFunc(shown, time.Time.Compare)
}

// clockTime is a time of day, from 00:00 to 24:00.
var clockTime = regexp.MustCompile(`^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$`)

// minutesOf returns the minutes after midnight of a valid time of day.
func minutesOf(clock string) int {
	hours, minutes, _ := strings.Cut(clock, ":")
	h, _ := strconv.Atoi(hours)
	m, _ := strconv.Atoi(minutes)
	return h*60 + m
}

func (c *checker) freeze(windows []Window) {
	for i, w := range windows {
		c.window(fmt.Sprintf("freeze[%d]", i), w)
	}
}

func (c *checker) window(field string, w Window) {
	for i, day := range w.Days {
		at := fmt.Sprintf("%s.days[%d]", field, i)
		switch {
		case !slices.Contains(weekdays(), day):
			c.add(at, "the days are mon, tue, wed, thu, fri, sat, sun", "is not a day: %q", day)
		case slices.Contains(w.Days[:i], day):
			c.add(at, "remove one of them", "is given twice: %q", day)
		}
	}
	c.clock(field+".from", w.From)
	c.clock(field+".to", w.To)
	if w.From == "24:00" {
		c.add(field+".from", "write 00:00 of the day after", "must be before 24:00")
	}
	if _, err := w.location(); err != nil {
		c.add(field+".zone", "write a name like Europe/Berlin or UTC", "is not a time zone: %q", w.Zone)
	}
}

func (c *checker) clock(field, clock string) {
	switch {
	case clock == "":
		c.missing(field, "write it as in 16:00")
	case !clockTime.MatchString(clock):
		c.add(field, "write it as in 08:00 or 16:30, up to 24:00", "is not a time of day: %q", clock)
	}
}
