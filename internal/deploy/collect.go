package deploy

import (
	"context"
	"errors"
	"slices"
	"time"
)

// collect drops the bytes of old releases. The journal knows of it first: a
// release whose bytes are gone is never offered for a rollback.
func (s *service) collect(ctx context.Context) {
	s.mu.Lock()
	old := s.state.collectable()
	var err error
	if len(old) > 0 {
		err = s.commitLocked(ctx, entry{0, Collected{Releases: old}})
	}
	s.mu.Unlock()
	if err == nil {
		err = errors.Join(s.e.collectArtifacts(ctx), s.e.collectLogs(ctx))
	}
	if err != nil {
		s.log.Warn("collect old releases; it is tried again after the next deployment", "error", err)
	}
}

// collectable are the releases whose bytes nothing needs any more: all but those
// that run, stable, candidates, and the newest that could be rolled back to, as
// many as stable's spec keeps.
func (s *State) collectable() []string {
	needed := map[string]bool{s.Stable: true, s.Previous: true}
	for id := range s.Running {
		needed[id] = true
	}
	for _, d := range s.Deployments {
		if !d.Phase.Final() {
			needed[d.Candidate] = true
		}
	}
	keep := s.keep()
	var old []string
	for _, r := range slices.Backward(s.Releases) {
		switch {
		case needed[r.ID] || r.Collected:
		case r.Promotions > 0 && keep > 0:
			keep--
		default:
			old = append(old, r.ID)
		}
	}
	slices.Sort(old)
	return old
}

// collectArtifacts removes the artifacts that no release of any service names,
// and that were not put lately. While one is being put it leaves that to the next
// time: the new one could have been here before.
func (e *Engine) collectArtifacts(ctx context.Context) error {
	if !e.uploads.TryLock() {
		return nil
	}
	defer e.uploads.Unlock()
	keep := map[string]bool{}
	for _, s := range e.all() {
		st := s.snapshot()
		for _, r := range st.Releases {
			if !r.Collected {
				keep[r.Artifact] = true
			}
		}
	}
	e.mu.Lock()
	now := time.Now()
	for digest, until := range e.fresh {
		if now.After(until) {
			delete(e.fresh, digest)
			continue
		}
		keep[digest] = true
	}
	e.mu.Unlock()
	_, err := e.cfg.Artifacts.Collect(ctx, keep)
	return err
}

// collectLogs drops the logs of releases whose bytes are gone, but for the
// newest: why those failed may still be asked.
func (e *Engine) collectLogs(ctx context.Context) error {
	keep := map[[2]string]bool{}
	for _, s := range e.all() {
		st := s.snapshot()
		newest := max(0, len(st.Releases)-1-st.keep())
		for i, r := range st.Releases {
			if !r.Collected || i >= newest {
				keep[[2]string{s.name, r.ID}] = true
			}
		}
	}
	return e.cfg.Driver.CollectLogs(ctx, func(service, release string) bool {
		return keep[[2]string{service, release}]
	})
}

// keep is how many old releases stable's spec keeps.
func (s *State) keep() int {
	if stable := s.Release(s.Stable); stable != nil {
		return stable.Spec.Keep
	}
	return 0
}
