package deploy

import (
	"context"

	"github.com/segue-deploy/segue/internal/journal"
)

// followBatch is how many records are read at a time.
const followBatch = 500

// Follow hands every event after an ID to yield, those that exist and then
// those to come, until ctx ends or yield returns an error. An empty service and
// deployment 0 stand for all.
func (e *Engine) Follow(ctx context.Context, service string, deployment int, after int64, yield func(Event) error) error {
	if err := e.waitReady(ctx); err != nil {
		return err
	}
	for {
		last, err := e.cfg.Journal.Last(ctx)
		if err != nil {
			return err
		}
		for {
			records, err := e.cfg.Journal.Read(ctx, journal.Filter{Service: service, Deployment: deployment, After: after, Limit: followBatch})
			if err != nil {
				return err
			}
			for _, r := range records {
				ev, err := eventOf(r)
				if err != nil {
					return err
				}
				e.find(ev.Service).settle(ev.ID)
				if err := yield(ev); err != nil {
					return err
				}
				after = r.ID
			}
			if len(records) < followBatch {
				break
			}
		}
		after = max(after, last)
		if err := e.cfg.Journal.Wait(ctx, after); err != nil {
			return err
		}
	}
}
