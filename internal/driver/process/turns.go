//go:build linux

package process

import (
	"context"
	"sync"
)

// turns lets callers with the same key go one after the other. The zero value is
// ready for use.
type turns struct {
	mu sync.Mutex
	at map[string]*turn
}

type turn struct {
	// free holds a value when nobody has the turn.
	free chan struct{}
	// users have the turn or wait for it.
	users int
}

// take waits for the caller's turn. The caller must call end.
func (t *turns) take(ctx context.Context, key string) (end func(), err error) {
	t.mu.Lock()
	if t.at == nil {
		t.at = map[string]*turn{}
	}
	at := t.at[key]
	if at == nil {
		at = &turn{free: make(chan struct{}, 1)}
		at.free <- struct{}{}
		t.at[key] = at
	}
	at.users++
	t.mu.Unlock()

	select {
	case <-at.free:
		return func() { at.free <- struct{}{}; t.leave(key, at) }, nil
	case <-ctx.Done():
		t.leave(key, at)
		return nil, context.Cause(ctx)
	}
}

func (t *turns) leave(key string, at *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at.users--; at.users == 0 {
		delete(t.at, key)
	}
}
