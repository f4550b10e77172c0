package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/api"
)

const (
	// watchEvery is how often a status is asked for.
	watchEvery = 500 * time.Millisecond
	// watchPatience is how long a daemon that has gone away is waited for.
	watchPatience = time.Minute
)

// watcher shows statuses one after the other.
type watcher interface {
	show(services []api.ServiceStatus, now time.Time) error
	// lost is told that the daemon does not answer and until when it is tried again.
	lost(until time.Time)
}

// watch shows the status until ctx ends.
func (o *options) watch(cmd *cobra.Command, asJSON bool) error {
	return watching(cmd.Context(), o.statuses, newWatcher(cmd.OutOrStdout(), asJSON))
}

// watching asks and shows until ctx ends; a daemon may be away meanwhile, though not
// at first.
func watching(ctx context.Context, ask func(context.Context) ([]api.ServiceStatus, error), w watcher) error {
	var giveUp time.Time
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		services, err := ask(ctx)
		_, away := errors.AsType[*api.Unreachable](err)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			giveUp = time.Time{}
			if err := w.show(services, time.Now()); err != nil {
				return err
			}
		case !away || first:
			return err
		case giveUp.IsZero():
			giveUp = time.Now().Add(watchPatience)
			w.lost(giveUp)
		case time.Now().After(giveUp):
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func newWatcher(out io.Writer, asJSON bool) watcher {
	if asJSON {
		return &jsonWatcher{out: out}
	}
	if screen, ok := terminalOf(out); ok {
		return &screenWatcher{screen: screen}
	}
	return &lineWatcher{lines: lineView{out: out}}
}

// screenWatcher draws each status over the one before.
type screenWatcher struct {
	screen *screen
	// text is what was drawn last.
	text string
}

func (w *screenWatcher) show(services []api.ServiceStatus, now time.Time) error {
	var text strings.Builder
	if err := printStatuses(&text, services, now); err != nil {
		return err
	}
	w.text = text.String()
	w.draw()
	return nil
}

func (w *screenWatcher) lost(until time.Time) {
	w.text += gone(until) + "\n"
	w.draw()
}

// draw shows as much from the top as there is room for.
func (w *screenWatcher) draw() {
	_, height := w.screen.size()
	lines := strings.Split(strings.TrimSuffix(w.text, "\n"), "\n")
	if room := max(1, height-1); len(lines) > room {
		lines = append(lines[:room-1], "  … ('--service NAME' shows only one)")
	}
	w.screen.draw(lines, height)
}

// lineWatcher prints the status, and then a line for each change.
type lineWatcher struct {
	lines  lineView
	before []api.ServiceStatus
	begun  bool
	away   bool
}

func (w *lineWatcher) show(services []api.ServiceStatus, now time.Time) error {
	if w.away {
		w.away = false
		w.lines.found()
	}
	before := w.before
	w.before = services
	if !w.begun {
		w.begun = true
		return printStatuses(w.lines.out, services, now)
	}
	for _, l := range allChanges(before, services, now) {
		w.lines.print(now, l)
	}
	return nil
}

func (w *lineWatcher) lost(until time.Time) {
	w.away = true
	w.lines.lost(until)
}

// jsonWatcher prints all of it on a line, whenever something else than a counter has
// changed.
type jsonWatcher struct {
	out    io.Writer
	before []byte
}

func (w *jsonWatcher) show(services []api.ServiceStatus, _ time.Time) error {
	text, err := json.Marshal(withoutCounters(services))
	if err != nil || bytes.Equal(text, w.before) {
		return err
	}
	w.before = text
	return json.NewEncoder(w.out).Encode(services)
}

func (*jsonWatcher) lost(time.Time) {}

func withoutCounters(services []api.ServiceStatus) []api.ServiceStatus {
	var all []api.ServiceStatus
	for _, s := range services {
		s.Traffic = nil
		all = append(all, s)
	}
	return all
}
