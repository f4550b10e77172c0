package deploy

import (
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

func TestBakeCounters(t *testing.T) {
	settings := spec.Guard{MaxErrors: 10, MinRequests: 20}
	at := func(epoch string, ok, bad uint64) proxy.Stats {
		return proxy.Stats{Epoch: epoch, Services: []proxy.ServiceStats{{Name: "web", Releases: []proxy.ReleaseStats{
			statsOf("r1", 0, 1000, 0, 0, 0), statsOf("r2", ok, bad, 0, 0, 0),
		}}}}
	}
	for _, test := range []struct {
		name  string
		stats []proxy.Stats
		fails bool
	}{
		{"too few to say", []proxy.Stats{at("a", 0, 0), at("a", 0, 19)}, false},
		{"just enough", []proxy.Stats{at("a", 0, 0), at("a", 18, 2)}, false},
		{"too many errors", []proxy.Stats{at("a", 0, 0), at("a", 17, 3)}, true},
		{"what was before the bake doesn't count", []proxy.Stats{at("a", 0, 500), at("a", 100, 505)}, false},
		{"errors of both runs of the proxy count", []proxy.Stats{at("a", 0, 0), at("a", 12, 1), at("b", 0, 0), at("b", 5, 2)}, true},
		{"a new run of the proxy begins at zero", []proxy.Stats{at("a", 0, 500), at("a", 100, 500), at("b", 100, 0)}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := bakeWatch{settings: settings}
			var err error
			for _, s := range test.stats {
				if err = w.counters(s.Epoch, serviceStats(s, "web"), "r2"); err != nil {
					break
				}
			}
			if (err != nil) != test.fails {
				t.Errorf("%s: %v", w.String(), err)
			}
		})
	}
}

func TestBakeInstances(t *testing.T) {
	began := time.Unix(100, 0)
	before := began.Add(-time.Minute)
	for _, test := range []struct {
		name  string
		in    driver.Instance
		fails bool
	}{
		{"ready", driver.Instance{State: driver.Ready, Started: before}, false},
		{"restarted long ago", driver.Instance{State: driver.Ready, Started: before, Restarts: 2}, false},
		{"restarted since", driver.Instance{State: driver.Ready, Started: began.Add(time.Second), Restarts: 1}, true},
		{"gone", driver.Instance{State: driver.Backoff, Started: before}, true},
		{"given up", driver.Instance{State: driver.Failed, Started: before}, true},
		{"not healthy", driver.Instance{State: driver.Unready, Started: before}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := bakeWatch{restarts: map[string]int{}}
			if err := w.instances([]driver.Instance{test.in}, began); (err != nil) != test.fails {
				t.Errorf("%v", err)
			}
		})
	}
	w := bakeWatch{restarts: map[string]int{}}
	if err := w.instances([]driver.Instance{{State: driver.Ready, Started: before, Restarts: 1}}, began); err != nil {
		t.Fatal(err)
	}
	if err := w.instances([]driver.Instance{{State: driver.Ready, Started: before, Restarts: 2}}, began); err == nil {
		t.Error("a restart during the bake went unnoticed")
	}
}

// TestBakeBlames: answers that are missing are explained by an instance that has died, of
// which the driver may tell a moment later. Bad answers need no explanation.
func TestBakeBlames(t *testing.T) {
	for _, test := range []struct {
		name string
		// counts is what comes of 30 requests to r2.
		counts func(r *proxy.ReleaseStats)
		// dies is when the driver tells of a death, after that and between two looks; 0 is
		// never. takes is
		// how long it is waited for.
		dies, takes time.Duration
		says        string
	}{
		{"it died", func(r *proxy.ReleaseStats) { r.Rerouted = 30 }, 290 * time.Millisecond, 300 * time.Millisecond, "web-r2-1: killed by SIGKILL"},
		{"nobody can reach it", func(r *proxy.ReleaseStats) { r.Rerouted = 30 }, 0, deathNotice, "30 of 30 answers were errors, of which 30 were missing (100.0 %"},
		{"it answers errors", func(r *proxy.ReleaseStats) { r.Answered[5] = 30 }, 0, 0, "30 of 30 answers were errors (100.0 %"},
	} {
		t.Run(test.name, func(t *testing.T) {
			scenario(t, func(w *world, sp *spec.Spec) {
				h := w.hooked()
				w.on("intended", StepBake, func() {
					began := time.Now()
					h.set(func(h *hook) {
						h.counted = func(stats *proxy.Stats) {
							r := proxy.ReleaseStats{ID: "r2"}
							if time.Since(began) > time.Second {
								r.Accepted = 30
								test.counts(&r)
							}
							stats.Services = []proxy.ServiceStats{{Name: "web", Releases: []proxy.ReleaseStats{r}}}
						}
					})
					if test.dies > 0 {
						// The bake looks at the counters every bakeTick.
						time.AfterFunc(time.Second+bakeTick+test.dies, func() { w.machine.Kill("web-r2-1") })
					}
				})
				d := w.await(w.begin(sp).Number)
				w.expectPhase(d, PhaseFailed, test.says)
				for _, st := range d.Steps {
					if want := time.Second + bakeTick + test.takes; st.Kind == StepBake && st.Ended.Sub(st.Began).Round(10*time.Millisecond) != want {
						t.Errorf("it took %s, want %s", st.Ended.Sub(st.Began), want)
					}
				}
			})
		})
	}
}
