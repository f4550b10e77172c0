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
