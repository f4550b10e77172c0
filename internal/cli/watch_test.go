package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// looks are what a daemon answers, one after the other; the last for ever.
type looks []func() ([]api.ServiceStatus, error)

// ask answers the next look, and ends the watching after the last.
func (l *looks) ask(end context.CancelFunc) func(context.Context) ([]api.ServiceStatus, error) {
	return func(context.Context) ([]api.ServiceStatus, error) {
		next := (*l)[0]
		if *l = (*l)[1:]; len(*l) == 0 {
			*l = append(*l, func() ([]api.ServiceStatus, error) { end(); return nil, context.Canceled })
		}
		return next()
	}
}

func sees(d api.Deployment) func() ([]api.ServiceStatus, error) {
	return func() ([]api.ServiceStatus, error) {
		return []api.ServiceStatus{{Service: "web", Deployment: &d}}, nil
	}
}

func away() ([]api.ServiceStatus, error) {
	return nil, &api.Unreachable{Socket: "segue.sock", Err: errors.New("gone")}
}

// watched is what a watcher shows of looks, and how it ends.
func watched(t *testing.T, w watcher, l looks) (err error) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err = watching(ctx, l.ask(cancel), w)
	})
	return err
}

func TestWatchAsLines(t *testing.T) {
	var out bytes.Buffer
	w := &lineWatcher{lines: lineView{out: &out}}
	if err := watched(t, w, looks{sees(good().until(3)), away, away, sees(good().until(3)), sees(good().d)}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i := range lines {
		if len(lines[i]) > 12 && lines[i][2] == ':' {
			lines[i] = "TIME" + lines[i][12:]
		}
	}
	got := strings.Join(lines, "\n")
	for _, want := range []string{
		"web: d2 to r2 is under way: start 2 instances",
		"TIME  the daemon does not answer, traffic goes on without it; trying until ",
		"TIME  the daemon answers again\nTIME  web d2: 1/3  start 2 instances",
		"TIME  web d2: promoted, r2 is stable (11.2s)\n",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q is not once in\n%s", want, got)
		}
	}
}

// TestWatchGivesUp: a daemon that never was there is said at once, one that has gone
// away after a time.
func TestWatchGivesUp(t *testing.T) {
	var never, gone looks
	for range 1000 {
		never, gone = append(never, away), append(gone, away)
	}
	gone[0] = sees(good().d)
	for name, l := range map[string]looks{"never": never, "gone": gone} {
		var out bytes.Buffer
		err := watched(t, &lineWatcher{lines: lineView{out: &out}}, l)
		if _, ok := errors.AsType[*api.Unreachable](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
		if told := strings.Contains(out.String(), "trying until"); told != (name == "gone") {
			t.Errorf("%s: %s", name, out.String())
		}
	}
	broken := errors.New("no such service")
	if err := watched(t, &jsonWatcher{}, looks{func() ([]api.ServiceStatus, error) { return nil, broken }}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestWatchAsJSON prints all of it when something has changed, counters aside.
func TestWatchAsJSON(t *testing.T) {
	var out bytes.Buffer
	counted := func() ([]api.ServiceStatus, error) {
		return []api.ServiceStatus{fromWire[api.ServiceStatus](t, `{"service": "web", "traffic": {"name": "web"}}`)}, nil
	}
	uncounted := func() ([]api.ServiceStatus, error) { return []api.ServiceStatus{{Service: "web"}}, nil }
	if err := watched(t, &jsonWatcher{out: &out}, looks{uncounted, counted, sees(good().d), away, sees(good().d)}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for dec := json.NewDecoder(&out); dec.More(); n++ {
		var all []api.ServiceStatus
		if err := dec.Decode(&all); err != nil || len(all) != 1 || all[0].Service != "web" {
			t.Errorf("%+v, %v", all, err)
		}
	}
	if n != 2 {
		t.Errorf("%d values, want 2", n)
	}
}

// TestWatchOnAScreen draws over what it has drawn, as much as there is room for.
func TestWatchOnAScreen(t *testing.T) {
	var out bytes.Buffer
	height := 24
	w := &screenWatcher{screen: &screen{out: &out, size: func() (int, int) { return 80, height }}}
	all := []api.ServiceStatus{{Service: "api"}, {Service: "web"}}
	show := func() string {
		out.Reset()
		if err := w.show(all, start()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := show(); !strings.HasPrefix(got, "\rapi: never deployed") || strings.Count(got, "\n") != 7 {
		t.Errorf("at first %q", got)
	}
	if got := show(); !strings.HasPrefix(got, "\x1b[7A\rapi") {
		t.Errorf("again %q", got)
	}
	out.Reset()
	if w.lost(start().Add(time.Minute)); !strings.Contains(out.String(), "the daemon does not answer") || strings.Count(out.String(), "\n") != 8 {
		t.Errorf("lost %q", out.String())
	}
	height = 5
	if got := show(); !strings.Contains(got, "api: never deployed") || !strings.Contains(got, "… ('--service NAME' shows only one)") || strings.Count(got, "\n") != 4 {
		t.Errorf("low %q", got)
	}
}
