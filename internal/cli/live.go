package cli

import (
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/segue-deploy/segue/internal/api"
)

// redrawEvery is how often running times are brought up to date.
const redrawEvery = 100 * time.Millisecond

// liveView redraws the plan in place: what is done, what runs and since when,
// what is to come. Redrawing lines is enough for that; nothing here takes input.
type liveView struct {
	mu     sync.Mutex
	screen *screen
	now    liveState
	stop   chan struct{}
	ended  sync.WaitGroup
}

func newLiveView(screen *screen, service string) *liveView {
	v := &liveView{screen: screen, now: liveState{service: service}, stop: make(chan struct{})}
	v.ended.Go(v.tick)
	return v
}

func (v *liveView) tick() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.change(func(*liveState) {})
		case <-v.stop:
			return
		}
	}
}

func (v *liveView) event(ev api.Event, d api.Deployment) {
	v.change(func(s *liveState) {
		s.d = d
		switch b := ev.Body.(type) {
		case api.Intended:
			s.note = ""
		case api.Noted:
			s.note = b.Message
		}
	})
}

func (v *liveView) lost(until time.Time) { v.change(func(s *liveState) { s.lostUntil = until }) }

func (v *liveView) found() { v.change(func(s *liveState) { s.lostUntil = time.Time{} }) }

// close leaves the whole of it on the screen.
func (v *liveView) close() {
	close(v.stop)
	v.ended.Wait()
	v.change(func(s *liveState) { s.whole = true })
}

// change draws what has changed over what was drawn before.
func (v *liveView) change(f func(*liveState)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(&v.now)
	if v.now.d.ID == "" && v.now.lostUntil.IsZero() {
		return
	}
	width, height := v.screen.size()
	if v.now.whole {
		height = unbounded
	}
	v.screen.draw(v.now.lines(time.Now(), width, height-1, newStyles()), height)
}

// liveStyles are the view's looks; the zero value has none.
type liveStyles struct{ good, bad, active, faint, bold lipgloss.Style }

func newStyles() liveStyles {
	return liveStyles{
		good:   lipgloss.NewStyle().Foreground(lipgloss.Green),
		bad:    lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
		active: lipgloss.NewStyle().Foreground(lipgloss.Cyan),
		faint:  lipgloss.NewStyle().Faint(true),
		bold:   lipgloss.NewStyle().Bold(true),
	}
}
