package prove

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Window is a time in which a release may answer. With a From it is one in which
// clients may move from that release to the other.
type Window struct {
	From, Release string
	// Begin and End may be zero: always before, always after.
	Begin, End time.Time
}

// Outside counts, by release, the requests that it answered though none of its windows
// says that it may: that were started after one of them had ended, and were over
// before the next began. Windows with a From don't matter. As [Generator.Between], it
// may count too few close to a window, but never too many.
func (g *Generator) Outside(windows []Window) map[string]uint64 {
	found := map[string]uint64{}
	for m, n := range g.ledger.outside(windows) {
		if m.From == "" {
			found[m.To] += n
		}
	}
	return found
}

// MovesOutside counts the moves of clients that no window with a From allows, in the
// same way.
func (g *Generator) MovesOutside(windows []Window) []Move {
	var found []Move
	for m, n := range g.ledger.outside(windows) {
		if m.From != "" {
			m.Count = n
			found = append(found, m)
		}
	}
	sortMoves(found)
	return found
}

// During is how many requests were started between two times: at least and at most.
func (g *Generator) During(from, to time.Time) (least, most uint64) {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	after, before := from.Sub(g.ledger.started), to.Sub(g.ledger.started)
	for m, s := range g.ledger.spans {
		switch {
		case m.from != "" || s.last < after || s.first > before:
		case s.first > after && s.last < before:
			least += s.count
			most += s.count
		default:
			most += s.count
		}
	}
	return least, most
}

// gap is a time between two windows, since the load's start.
type gap struct{ after, before time.Duration }

// outside counts by release, or by move, with a count of zero in the key.
func (l *ledger) outside(windows []Window) map[Move]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	gaps := map[Move][]gap{}
	found := map[Move]uint64{}
	for m, s := range l.spans {
		if m.release == "" {
			continue
		}
		key := Move{From: m.from, To: m.release}
		if gaps[key] == nil {
			gaps[key] = l.gapsOf(key, windows)
		}
		for _, g := range gaps[key] {
			if n := s.within(g.after, math.MaxInt64); n > 0 && s.over < g.before {
				found[key] += n
			}
		}
	}
	return found
}

// gapsOf are the times in which no window allows it.
func (l *ledger) gapsOf(key Move, windows []Window) []gap {
	var own []gap // the windows themselves, from after to before
	for _, w := range windows {
		if w.From == key.From && w.Release == key.To {
			own = append(own, gap{l.since(w.Begin, math.MinInt64), l.since(w.End, math.MaxInt64)})
		}
	}
	slices.SortFunc(own, func(a, b gap) int { return cmp.Compare(a.after, b.after) })
	gaps := []gap{}
	last := time.Duration(math.MinInt64)
	for _, w := range own {
		if w.after > last {
			gaps = append(gaps, gap{last, w.after})
		}
		last = max(last, w.before)
	}
	if last < math.MaxInt64 {
		gaps = append(gaps, gap{last, math.MaxInt64})
	}
	return gaps
}

// since is a time since the load's start; zero is what the caller says.
func (l *ledger) since(t time.Time, zero time.Duration) time.Duration {
	if t.IsZero() {
		return zero
	}
	return t.Sub(l.started)
}
