//go:build linux

package process

import (
	"fmt"
	"slices"
	"time"
)

// An instance that exits by itself is started again after a time that doubles
// with each exit in a row, from firstBackoff to lastBackoff. It is given up after
// coldExits exits if it has never been ready, or hotExits exits within hotWindow.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 10 * time.Second
	// settled is the age at which an exit doesn't count as one in a row.
	settled = time.Minute

	coldExits = 3
	hotExits  = 5
	hotWindow = 2 * time.Minute
)

// exited enters an exit at now and decides what comes next: the time until the
// next start or, if giveUp isn't empty, the reason why there is none.
func (r *record) exited(now time.Time, age time.Duration) (wait time.Duration, giveUp string) {
	if age >= settled {
		r.Streak = 0
	}
	wait = lastBackoff
	if r.Streak < 10 {
		wait = min(wait, firstBackoff<<r.Streak)
	}
	r.Streak++
	r.Exits = append(r.Exits, now)
	if r.EverReady {
		r.Exits = slices.DeleteFunc(r.Exits, func(at time.Time) bool { return now.Sub(at) > hotWindow })
	}
	switch n := len(r.Exits); {
	case !r.EverReady && n >= coldExits:
		return 0, fmt.Sprintf("%d exits and never ready", n)
	case r.EverReady && n >= hotExits:
		return 0, fmt.Sprintf("%d exits within %v", n, hotWindow)
	}
	return wait, ""
}
