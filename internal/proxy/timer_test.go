package proxy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// alarm notes when it expires.
type alarm struct {
	timer
	rang func(*alarm)
}

func (a *alarm) expire() { a.rang(a) }

// Whatever is set, moved, cleared and forgotten: each timer expires when it is due, not
// before, and no other does.
func TestTimersExpireWhenDue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	began := time.Now()
	for range 200 {
		ts := timers{began: began}
		now := began
		rang := make(map[*alarm]int)
		due := make(map[*alarm]time.Time)
		alarms := make([]*alarm, 50)
		for i := range alarms {
			alarms[i] = &alarm{rang: func(a *alarm) {
				rang[a]++
				if due[a].IsZero() || due[a].After(now) {
					t.Errorf("it expires at %s, due %s", now.Sub(began), due[a].Sub(began))
				}
				delete(due, a)
			}}
			alarms[i].owner = alarms[i]
		}
		for range 300 {
			a := alarms[random.IntN(len(alarms))]
			switch random.IntN(5) {
			case 0:
				ts.set(&a.timer, time.Time{})
				delete(due, a)
			case 1:
				ts.forget(&a.timer)
				delete(due, a)
			case 2:
				now = now.Add(time.Duration(random.IntN(50)))
				ts.run(now)
				for a, at := range due {
					if !at.After(now) {
						t.Errorf("at %s one has not expired that was due at %s", now.Sub(began), at.Sub(began))
						delete(due, a)
					}
				}
				if next := ts.next(); !next.IsZero() && !next.After(now) {
					t.Error("after a run there is something to do still")
				}
			default:
				due[a] = now.Add(time.Duration(1 + random.IntN(300)))
				ts.set(&a.timer, due[a])
			}
			first := time.Time{}
			for _, at := range due {
				if first.IsZero() || at.Before(first) {
					first = at
				}
			}
			if next := ts.next(); !first.IsZero() && (next.IsZero() || next.After(first)) {
				t.Fatalf("the next run is at %s, too late for %s", next.Sub(began), first.Sub(began))
			}
		}
	}
}

// A timer that is moved to later all the time, as each request does with its
// connection's, stays where it is in the heap.
func TestTimersMoveForNothing(t *testing.T) {
	now := time.Now()
	ts := timers{began: now}
	a, b := &alarm{}, &alarm{}
	a.owner, b.owner = a, b
	ts.set(&a.timer, now.Add(1))
	ts.set(&b.timer, now.Add(2))
	before := slices.Clone(ts.heap)
	for i := range 100 {
		ts.set(&a.timer, now.Add(time.Duration(10+i)))
		ts.set(&a.timer, time.Time{})
	}
	if !slices.Equal(ts.heap, before) || !ts.next().Equal(now.Add(1)) {
		t.Error("the heap has changed")
	}
}
