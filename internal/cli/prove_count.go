package cli

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

const (
	// lookEvery is how often the proxy's count is read while the load runs, so that
	// little of it is missing if the proxy dies.
	lookEvery = 500 * time.Millisecond
	// lookTimeout is how long the daemon may take to answer, answerTimeout how long
	// one that is away is waited for when the load is over.
	lookTimeout   = 2 * time.Second
	answerTimeout = 20 * time.Second
)

// counterpart looks at a service while the load runs. Its client is nil when there is none.
type counterpart struct {
	client  *api.Client
	service string
	// alone says why there is none.
	alone string
	// named: the user said which service it is.
	named bool

	mu    sync.Mutex
	count tally
	last  *api.Deployment
}

// counterpart finds the service and takes the first count. Without --service there need be
// none.
func (p *proveOptions) counterpart(ctx context.Context, host, path string) (*counterpart, error) {
	w := &counterpart{client: p.client(), service: p.service, named: p.service != ""}
	if !w.named {
		service, err := findService(ctx, w.client, host, path)
		if err != nil {
			alone := &counterpart{alone: err.Error()}
			return alone, nil //nolint:nilerr // the load does without, and the report says why
		}
		w.service = service
	}
	status, err := w.client.Status(ctx, w.service)
	if err == nil && status.Worker {
		err = fmt.Errorf("service %s is a worker: it takes no requests", w.service)
	}
	if err != nil {
		return nil, err
	}
	w.see(status)
	return w, nil
}

// findService finds the service whose route has a host and path.
func findService(ctx context.Context, client *api.Client, host, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	services, err := client.Services(ctx)
	if err != nil {
		return "", err
	}
	routed := map[string]api.Release{}
	for _, s := range services {
		h, err := client.History(ctx, s.Service)
		if err != nil {
			return "", err
		}
		for _, r := range h.Releases {
			if r.ID == s.Stable && !s.Worker {
				routed[s.Service] = r
			}
		}
	}
	return routedTo(routed, host, path)
}

// routedTo is the service whose stable release takes requests for a host and path: the
// most specific host, and then the longest path, as the proxy chooses.
func routedTo(stable map[string]api.Release, host, path string) (string, error) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	best, service := [2]int{-1, -1}, ""
	for name, r := range stable {
		score := [2]int{hostMatch(r.Spec.Route.Hosts, host), pathMatch(r.Spec.Route.Paths, path)}
		if score[0] >= 0 && score[1] >= 0 && (score[0] > best[0] || score[0] == best[0] && score[1] > best[1]) {
			best, service = score, name
		}
	}
	if service == "" {
		return "", fmt.Errorf("no service of the daemon has the route %s%s", host, path)
	}
	return service, nil
}

// hostMatch is how specifically a route's hosts name one: the longer the name, the
// more; 0 is every host, -1 not at all.
func hostMatch(hosts []string, host string) int {
	best := -1
	if len(hosts) == 0 {
		best = 0
	}
	for _, h := range hosts {
		below, wild := strings.CutPrefix(h, "*")
		if h == host {
			best = max(best, 1<<16)
		} else if wild && strings.HasSuffix(host, below) {
			best = max(best, len(below))
		}
	}
	return best
}

// pathMatch is the length of the longest of a route's prefixes that a path has, in whole
// segments, or -1.
func pathMatch(paths []string, path string) int {
	if len(paths) == 0 {
		return 0
	}
	best := -1
	for _, p := range paths {
		p = strings.TrimSuffix(p, "/")
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '/') {
			best = max(best, len(p))
		}
	}
	return best
}

// look reads the count from time to time.
func (w *counterpart) look(ctx context.Context) {
	if w.client == nil {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// A daemon that is away is asked again at the next tick.
			_ = w.ask(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (w *counterpart) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	status, err := w.client.Status(ctx, w.service)
	if err != nil {
		return err
	}
	if status.Traffic == nil {
		return fmt.Errorf("the proxy does not answer: %s", status.TrafficError)
	}
	w.see(status)
	return nil
}

func (w *counterpart) see(status api.ServiceStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.add(status)
	w.last = status.Deployment
}

// under says what was under way when the daemon last answered.
func (w *counterpart) under() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil || w.last.Phase.Final() {
		return ""
	}
	return doing(w.last.ID, w.last.Steps, func(st api.StepState) bool { return st.Status == api.StepRunning })
}

// doing names a deployment, and its step of which something is so.
func doing(id string, steps []api.StepState, is func(api.StepState) bool) string {
	for _, st := range steps {
		if is(st) {
			return id + ": " + st.String()
		}
	}
	return id
}

// tally adds up the proxy's counters over its runs. A run is known by its epoch; one that
// began meanwhile has counted from zero.
type tally struct {
	epoch           string
	now, base, done traffic
	seen            bool
	unknown         []string
	lastAt          time.Time
}

// traffic is what the proxy has counted of a service in one run.
type traffic struct{ accepted, failed uint64 }

func trafficOf(status api.ServiceStatus) traffic {
	var t traffic
	for _, r := range status.Traffic.Releases {
		t.accepted += r.Accepted - r.Rerouted
		t.failed += r.Failed.Sum()
	}
	return t
}

func (t *tally) add(status api.ServiceStatus) {
	if status.Traffic == nil {
		return
	}
	now := trafficOf(status)
	switch {
	case !t.seen:
		t.seen, t.base = true, now
	case status.Epoch != t.epoch:
		t.unknown = append(t.unknown, fmt.Sprintf("the proxy was started anew after %s: what its predecessor counted after that is not known", t.lastAt.Format(time.TimeOnly)))
		t.done = t.sum()
		t.base = traffic{}
	}
	t.epoch, t.now, t.lastAt = status.Epoch, now, time.Now()
}

func (t *tally) sum() traffic {
	return traffic{t.done.accepted + t.now.accepted - t.base.accepted, t.done.failed + t.now.failed - t.base.failed}
}
