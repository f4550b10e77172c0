package daemon

import (
	"context"
	"sync"

	"github.com/segue-deploy/segue/internal/proxy"
)

// traffic is the proxy as the engine uses it: whichever runs. While one takes over from
// another, what would meet both in the middle of it waits.
type traffic struct {
	client *proxy.Client
	// turn is held for reading by calls, for writing while another proxy takes over.
	turn sync.RWMutex
}

// Apply is [proxy.Proxy.Apply].
func (t *traffic) Apply(ctx context.Context, table proxy.Table) error {
	t.turn.RLock()
	defer t.turn.RUnlock()
	return t.client.Apply(ctx, table)
}

// Stats is [proxy.Proxy.Stats].
func (t *traffic) Stats(ctx context.Context) (proxy.Stats, error) {
	t.turn.RLock()
	defer t.turn.RUnlock()
	return t.client.Stats(ctx)
}

// Drain is [proxy.Proxy.Drain]. It can take long, and is no obstacle: what it waits for stays where it is.
func (t *traffic) Drain(ctx context.Context, service, release string, times proxy.DrainTimes) (proxy.DrainResult, error) {
	return t.client.Drain(ctx, service, release, times)
}
