package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/internal/prove"
)

// soakAccount judges what the clients of a soak didn't get: each request is lost that was
// not in flight in something that was killed, or was answered by a release that fails on
// purpose.
type soakAccount struct {
	gen    *prove.Generator
	others *others
	seen   string

	judged, missed int
	lost, excused  int
	excuses        []excuse
	errs           map[string]bool // releases that answer with errors on purpose
	event          int
	kind           string
	began, earlier int64 // how long seen was when this event began, and the one before
	last           *tally
}

func newSoakAccount(gen *prove.Generator, others *others, seen string) *soakAccount {
	return &soakAccount{gen: gen, others: others, seen: seen, errs: map[string]bool{}}
}

// excuse is why some requests may be lost: those that were in flight in one process while
// it ended, or when it was cut.
type excuse struct {
	event int
	kind  string
	// instance is the one that ended, empty for the proxy; release has all of its
	// instances end as they like.
	instance, release string
	// from and to are when its end began, and when nothing was left of it.
	from, to time.Time
}

// String is one line.
func (e excuse) String() string {
	what := "the proxy"
	if e.instance != "" {
		what = e.instance
	}
	if e.release != "" {
		what = "the instances of " + e.release
	}
	return fmt.Sprintf("%s of event %d: in flight in %s between %s and %s", e.kind, e.event, what, e.from.Format("15:04:05.000"), e.to.Format("15:04:05.000"))
}

func (a *soakAccount) report() prove.Report { return a.gen.Report() }

func (a *soakAccount) eventBegan(n int, kind string) {
	a.event, a.kind, a.earlier = n, kind, a.began
	if info, err := os.Stat(a.seen); err == nil {
		a.began = info.Size()
	}
}

// instanceDied excuses what was in flight in an instance between two moments.
func (a *soakAccount) instanceDied(id string, from, to time.Time) {
	a.excuses = append(a.excuses, excuse{event: a.event, kind: a.kind, instance: id, from: from, to: to})
}

// proxyDied excuses what was in flight in the proxy.
func (a *soakAccount) proxyDied(from, to time.Time) {
	a.excuses = append(a.excuses, excuse{event: a.event, kind: a.kind, from: from, to: to})
}

// dies excuses what was in flight in the instances of a release that die by themselves.
func (a *soakAccount) dies(release string, from time.Time) {
	a.excuses = append(a.excuses, excuse{event: a.event, kind: a.kind, release: release, from: from, to: from.Add(2 * time.Minute)})
}

// judge looks at the requests that have failed since it did so last.
func (a *soakAccount) judge() (lost, excused []prove.Failure) {
	failures := a.gen.Report().Failures[a.judged:]
	missed := a.others.missed()[a.missed:]
	a.judged += len(failures)
	a.missed += len(missed)
	failures = slices.Concat(failures, missed)
	if len(failures) == 0 {
		return nil, nil
	}
	arrived := a.arrivals(failures)
	for _, f := range failures {
		switch {
		case f.Outcome == prove.ServiceError && a.errs[f.Release]:
		case f.Outcome == prove.Lost && slices.ContainsFunc(a.excuses, func(e excuse) bool { return e.covers(f, arrived[f.ID]) }):
			excused = append(excused, f)
		default:
			lost = append(lost, f)
		}
	}
	a.lost += len(lost)
	a.excused += len(excused)
	return lost, excused
}

// covers says whether a request was lost because of what is excused: it was in flight at
// that moment, or its connection was there already, and it was last where it ended. Of an instance only what can't be sent again
// may be lost: a POST, and an answer that had begun.
func (e excuse) covers(f prove.Failure, at []seenAt) bool {
	if f.Began.After(e.to) || f.Began.Add(f.Took).Before(e.from) {
		return false
	}
	broken := f.Cause == "closed" || f.Cause == "truncated" || f.Cause == "reset"
	if e.instance == "" && e.release == "" {
		return broken
	}
	post, begun := f.Kind == load.Echo, f.Release != "" && broken
	if !post && !begun || post && !broken && f.Status != http.StatusBadGateway {
		return false
	}
	if len(at) == 0 {
		return post // It was written to the instance, which may not have read it.
	}
	last := at[len(at)-1]
	return last.Instance == e.instance || last.Release == e.release && e.release != ""
}

// seenAt is a line of the file in which instances note requests.
type seenAt struct {
	Release, Instance string
	LoadID            string `json:"load_id"`
}

// arrivals finds where the requests arrived, in the order in which they did.
func (a *soakAccount) arrivals(failures []prove.Failure) map[string][]seenAt {
	wanted := map[string]bool{}
	for _, f := range failures {
		wanted[f.ID] = true
	}
	found := map[string][]seenAt{}
	file, err := os.Open(a.seen)
	if err != nil {
		return found
	}
	defer file.Close()
	// A request takes at most half a minute: it came in this event or the one before.
	if _, err := file.Seek(a.earlier, io.SeekStart); err != nil {
		return found
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var at seenAt
		if json.Unmarshal(lines.Bytes(), &at) == nil && wanted[at.LoadID] {
			found[at.LoadID] = append(found[at.LoadID], at)
		}
	}
	return found
}

// describe is a request with all that is known of it.
func (a *soakAccount) describe(f prove.Failure) string {
	var at []string
	for _, s := range a.arrivals([]prove.Failure{f})[f.ID] {
		at = append(at, s.Instance)
	}
	return fmt.Sprintf("%s; ended %s; seen by [%s]", f, f.Began.Add(f.Took).Format("15:04:05.000"), strings.Join(at, " "))
}

// ---- The counts of the proxy ----

// soakCounts are what the proxy counts of a release.
type soakCounts struct {
	counts
	Answered   [6]uint64
	Failed     map[string]uint64
	ClientGone uint64 `json:"client_gone"`
	Shed       uint64
}

// adds returns an error unless each request has exactly one end.
func (c soakCounts) adds() error {
	ends := c.ClientGone + c.Rerouted + c.Shed + uint64(c.InFlight)
	for _, n := range c.Answered {
		ends += n
	}
	for _, n := range c.Failed {
		ends += n
	}
	if ends != c.Accepted {
		return fmt.Errorf("the proxy accepted %d requests of %q, and has %d ends for them: %+v", c.Accepted, c.ID, ends, c)
	}
	return nil
}

// soakStatus is the service's.
type soakStatus struct {
	status
	Epoch   string
	Traffic struct {
		Releases     []soakCounts
		Held, Queued held
	}
}

// tally is what proxy and clients had counted at one moment.
type tally struct {
	epoch string
	// accepted is the proxy's count; at that moment the clients had sent at most so many,
	// and at least so many had ended.
	accepted, sent, ended uint64
	// others are requests of clients who don't know what became of theirs.
	others uint64
}

// compare holds the growth of the proxy's count against that of the clients', if it is the
// same proxy, or the successor of one that has handed its counts on.
func (a *soakAccount) compare(t *testing.T, now tally) {
	t.Helper()
	before := a.last
	a.last = &now
	if before == nil || before.epoch != now.epoch {
		return
	}
	counted := now.accepted - before.accepted
	least, most := now.ended-min(now.ended, before.sent), now.sent-before.ended+now.others-before.others
	if counted < least || counted > most {
		t.Errorf("event %d, %s: the proxy counted %d requests, the clients from %d to %d", a.event, a.kind, counted, least, most)
	}
}
