package journal

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// patience is a safety net for what should take milliseconds.
const patience = 30 * time.Second

func TestLastIsTheNewestID(t *testing.T) {
	j := open(t, journalPath(t))
	for want := range int64(3) {
		if last, err := j.Last(t.Context()); err != nil || last != want {
			t.Fatalf("Last is %d, %v; want %d", last, err, want)
		}
		appendAll(t, j, event(0))
	}
}

func TestWaitReturnsAtOnceForWhatIsThere(t *testing.T) {
	path := journalPath(t)
	j := open(t, path)
	appendAll(t, j, event(1), event(2))
	for after := range int64(2) {
		if err := j.Wait(t.Context(), after); err != nil {
			t.Fatal(err)
		}
	}
	closeJournal(t, j)
	j = open(t, path)
	if err := j.Wait(t.Context(), 1); err != nil {
		t.Fatalf("after opening again: %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	j := open(t, journalPath(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Wait(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	path := journalPath(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if _, err := Open(ctx, path); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		requireSound(t, path)
	}
}

// Each of several followers sees every record, with writers in the way, and
// none misses the last wake-up.
func TestWaitLosesNoWakeUp(t *testing.T) {
	const followers, writers, each = 4, 3, 15
	j := open(t, journalPath(t))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for range followers {
		wg.Go(func() {
			var seen int64
			for seen < writers*each {
				if err := j.Wait(ctx, seen); err != nil {
					t.Errorf("waiting for more than %d: %v", seen, err)
					return
				}
				recs, err := j.Read(ctx, Filter{After: seen})
				if err != nil || len(recs) == 0 {
					t.Errorf("Wait returned and there are %d records after %d: %v", len(recs), seen, err)
					return
				}
				for _, r := range recs {
					if r.ID != seen+1 {
						t.Errorf("record %d follows %d", r.ID, seen)
					}
					seen = r.ID
				}
			}
		})
	}
	for range writers {
		wg.Go(func() {
			for n := range each {
				if _, err := j.Append(ctx, event(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCloseEndsEverything(t *testing.T) {
	j := open(t, journalPath(t))
	waited := make(chan error)
	go func() { waited <- j.Wait(context.Background(), 0) }()
	closeJournal(t, j)
	closeJournal(t, j)
	select {
	case err := <-waited:
		if !errors.Is(err, ErrClosed) {
			t.Errorf("Wait: %v", err)
		}
	case <-time.After(patience):
		t.Error("Wait goes on after Close")
	}
	if _, err := j.Append(t.Context(), event(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append: %v", err)
	}
	if _, err := j.Read(t.Context(), Filter{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if _, err := j.Last(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Last: %v", err)
	}
}

// Close in the midst of calls: each ends whole or with ErrClosed, and what was
// acknowledged is there.
func TestCloseUnderLoad(t *testing.T) {
	path := journalPath(t)
	j := open(t, path)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		acked int64
	)
	started := make(chan struct{}, 100)
	for range 4 {
		wg.Go(func() {
			for {
				added, err := j.Append(context.Background(), event(1), event(2))
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				acked = max(acked, added[1].ID)
				mu.Unlock()
				select {
				case started <- struct{}{}:
				default:
				}
				if _, err := j.Read(context.Background(), Filter{After: added[0].ID}); err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		<-started
	}
	closeJournal(t, j)
	wg.Wait()
	if recs := requireSound(t, path); int64(len(recs)) != acked {
		t.Fatalf("%d records, the last acknowledged is %d", len(recs), acked)
	}
}
