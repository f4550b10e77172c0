//go:build linux

package process

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestTurns(t *testing.T) {
	var turns turns
	var mu sync.Mutex
	inside := map[string]int{}
	var callers sync.WaitGroup
	for i := range 40 {
		key := []string{"a", "b"}[i%2]
		callers.Go(func() {
			end, err := turns.take(t.Context(), key)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside[key]++
			if inside[key] != 1 {
				t.Errorf("%d have the turn of %s", inside[key], key)
			}
			mu.Unlock()
			mu.Lock()
			inside[key]--
			mu.Unlock()
			end()
		})
	}
	callers.Wait()

	end, err := turns.take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting beyond the end of a context: %v", err)
	}
	if endB, err := turns.take(t.Context(), "b"); err != nil {
		t.Error(err)
	} else {
		endB()
	}
	end()
	if len(turns.at) != 0 {
		t.Errorf("turns that nobody uses: %v", turns.at)
	}
}
