//go:build linux

package process

import (
	"fmt"
	"time"
)

// An instance that exits by itself is started again after a time that doubles
// with each exit in a row, from firstBackoff to lastBackoff. One that has never
// been ready is given up after coldExits exits: it is a candidate, and somebody
// waits for the verdict. One that was ready is never given up: what it needs, a
// database say, may come back at any time, and then it must, too.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 10 * time.Second
	// settled is the age at which an exit doesn't count as one in a row.
	settled = time.Minute

	coldExits = 3
	// loopExits is how many exits in a row are called a crash loop.
	loopExits = 5
)

// exited enters an exit at some age and decides what comes next: the time until
// the next start, or giveUp if there is none. The verdict is what to say of it
// beside the exit itself; it may be empty.
func (r *record) exited(age time.Duration) (wait time.Duration, giveUp bool, verdict string) {
	if age >= settled {
		r.Streak = 0
	}
	wait = lastBackoff
	if r.Streak < 10 {
		wait = min(wait, firstBackoff<<r.Streak)
	}
	r.Streak++
	switch {
	case !r.EverReady && r.Streak >= coldExits:
		return 0, true, fmt.Sprintf("given up after %d exits and never ready", r.Streak)
	case r.Streak >= loopExits:
		return wait, false, fmt.Sprintf("a crash loop: %d exits in a row; started again every %v", r.Streak, wait)
	}
	return wait, false, ""
}
