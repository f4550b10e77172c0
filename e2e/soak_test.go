package e2e

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/e2e/load"
	"github.com/segue-deploy/segue/internal/prove"
)

// What TestSoak does: by default little enough to be run with the other tests.
var (
	soakFor  = flag.Duration("soak", 30*time.Second, "how long TestSoak begins events")
	soakSeed = flag.Uint64("seed", 0, "what TestSoak draws its events from; 0 is the time")
)

// soak is a service under load, to which one thing after the other happens.
type soak struct {
	*stage
	clients *loadRun
	others  *others
	random  *rand.Rand
	// seen is the file in which the instances note each request.
	seen    string
	account *soakAccount

	began   time.Time
	events  int
	perKind map[string]*kindTotal
	// stable is the release that must be it; releases counts all that were deployed.
	stable   string
	releases int
	// due are deployments whose receipts have still to be looked at.
	due []string
	// killed says that this event has killed the proxy, so that receipts may not know all.
	killed bool
	// deaf says that the daemon could not ask the proxy in this event, for want of descriptors:
	// receipts may say just that.
	deaf bool
}

// kindTotal is what became of the events of one kind.
type kindTotal struct{ events, excused, lost int }

// soakEvent is one thing that can happen.
type soakEvent struct {
	kind string
	run  func(k *soak)
}

// soakEvents are all of them. Each is drawn once before one is drawn again.
func soakEvents() []soakEvent {
	var all []soakEvent
	for _, name := range slices.Sorted(maps.Keys(soakStrategies())) {
		all = append(all, soakEvent{name, func(k *soak) { k.promoted(k.deploySoak(name, "")) }})
	}
	return append(all,
		soakEvent{"broken release", (*soak).broken},
		soakEvent{"rollback", (*soak).rollback},
		soakEvent{"abort", (*soak).abort},
		soakEvent{"pause", (*soak).pause},
		soakEvent{"upgrade", (*soak).upgrade},
		soakEvent{"kill -9 daemon", (*soak).killDaemon},
		soakEvent{"kill -9 proxy", (*soak).killProxy},
		soakEvent{"kill -9 instance", (*soak).killInstance},
		soakEvent{"hang", (*soak).hang},
		soakEvent{"full disk", (*soak).fullDisk},
		soakEvent{"clock jump", (*soak).clockJump},
		soakEvent{"descriptors", (*soak).descriptors},
	)
}

// TestSoak has things happen to a service under load, drawn from a seed, and holds after
// each that everything adds up and that no request was lost, but for those which were in
// flight in a process that was killed.
func TestSoak(t *testing.T) {
	t.Parallel()
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	k := newSoak(t, seed)
	k.say("seed %d: go test -run '^TestSoak$' ./e2e -timeout 0 -soak=%s -seed=%d", seed, *soakFor, seed)
	var deck []soakEvent
	for time.Since(k.began) < *soakFor && !t.Failed() {
		if len(deck) == 0 {
			deck = soakEvents()
			k.random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		k.event(deck[0])
		deck = deck[1:]
	}
	k.end(seed)
}

func newSoak(t *testing.T, seed uint64) *soak {
	s := newStage(t)
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k := &soak{
		stage: s, random: rand.New(rand.NewPCG(seed, 0)), seen: filepath.Join(s.dir, "seen.log"),
		began: time.Now(), perKind: map[string]*kindTotal{},
	}
	if err := syscall.Mount("segue-soak", s.Dir, "tmpfs", 0, "size=256m"); err != nil {
		k.say("NOT TESTED: a full disk; a tmpfs can't be mounted here: %v", err)
	} else {
		s.unmount = true
	}
	// Those of the upgrades; what runs can't be written.
	s.another(1)
	s.another(2)
	s.serve()
	k.promoted(k.deploySoak("blue-green", ""))
	k.clients = s.load(prove.Config{
		KeepAlive: 8, Fresh: 4, Slow: 4, Rate: 250, Seed: seed, KeepFailures: 100_000,
		Requests: load.Demo{SlowFor: 2 * time.Second, Seed: seed}.Requests,
	})
	k.others = k.startOthers()
	k.account = newSoakAccount(k.clients.gen, k.others, k.seen)
	k.clients.answersFrom("r1", time.Time{})
	k.settle()
	return k
}

// say prints a line at once, so that one who waits sees it.
func (k *soak) say(format string, a ...any) {
	fmt.Printf("soak %7s  %s\n", time.Since(k.began).Round(100*time.Millisecond), fmt.Sprintf(format, a...))
}

// event has one thing happen and looks at what became of it.
func (k *soak) event(e soakEvent) {
	k.events++
	began, before := time.Now(), k.account.report()
	k.killed, k.deaf = false, false
	k.account.eventBegan(k.events, e.kind)
	e.run(k)
	if k.t.Failed() {
		k.explain(e.kind, began)
		return
	}
	k.settle()
	k.receipts()
	lost, excused := k.account.judge()
	now := k.account.report()
	if k.perKind[e.kind] == nil {
		k.perKind[e.kind] = &kindTotal{}
	}
	total := k.perKind[e.kind]
	total.events++
	total.excused += len(excused)
	total.lost += len(lost)
	k.say("event %3d %-17s %5.1f s, %5d requests; so far %d requests, lost %d, in flight in what was killed %d; stable %s",
		k.events, e.kind, time.Since(began).Seconds(), now.Sent-before.Sent, now.Sent, k.account.lost, k.account.excused, k.stable)
	if len(lost) > 0 {
		k.t.Errorf("event %d, %s: lost %d requests", k.events, e.kind, len(lost))
		for _, f := range lost[:min(len(lost), 20)] {
			k.say("LOST %s", k.account.describe(f))
		}
	}
	if k.t.Failed() {
		k.explain(e.kind, began)
	}
}

// explain prints what else is needed to understand a failure; the logs follow when the
// stage is struck.
func (k *soak) explain(kind string, began time.Time) {
	k.say("FAILED in event %d, %s, which began at %s and ended at %s", k.events, kind, began.Format("15:04:05.000"), time.Now().Format("15:04:05.000"))
	for _, e := range k.account.excuses {
		if e.event == k.events {
			k.say("may have lost requests: %s", e)
		}
	}
}

// end ends the load, and counts everything once more: nobody is in flight any more.
func (k *soak) end(seed uint64) {
	k.others.leave()
	r := k.clients.end()
	lost, _ := k.account.judge()
	for _, f := range lost {
		k.t.Errorf("lost when the load ended: %s", k.account.describe(f))
	}
	if !k.t.Failed() {
		k.atRest(r)
	}
	k.say("totals:")
	for _, kind := range slices.Sorted(maps.Keys(k.perKind)) {
		t := k.perKind[kind]
		k.say("  %-17s %3d events, lost %d, in flight in what was killed %d", kind, t.events, t.lost, t.excused)
	}
	k.say("  clients: %d idle connections closed, %d reset; latency p50 %s, p99 %s, max %s; %d errors of bad releases",
		r.IdleClosed, r.IdleReset, r.Latency.P50, r.Latency.P99, r.Latency.Max, r.ServiceError)
	k.say("  beside them: %d slow clients, %d that vanished, %d with a WebSocket, of whom %d were told to go",
		k.others.whole.Load(), k.others.vanished.Load(), k.others.talks.Load(), k.others.told.Load())
	if k.t.Failed() {
		k.say("seed %d", seed)
	}
	fmt.Printf("lost %d of %d requests\n", k.account.lost, r.Sent+k.others.whole.Load()+k.others.talks.Load())
}

// atRest holds the sum of all counts against each other when the load is over.
func (k *soak) atRest(r prove.Report) {
	eventually(k.t, "nothing is in flight", func() bool {
		st, err := k.look()
		return err == nil && !slices.ContainsFunc(st.Traffic.Releases, func(c soakCounts) bool { return c.InFlight != 0 })
	})
	if r.InFlight != 0 || r.Duplicated+r.Wrong > 0 {
		k.t.Errorf("%s", r)
	}
	k.account.compare(k.t, k.snapshot())
	f, err := os.Open(k.seen)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	log, err := k.clients.gen.CheckLog(f)
	if err != nil || log.Missing+log.Duplicated > 0 {
		k.t.Errorf("the log of the instances: %+v, %v", log, err)
	}
	k.say("the instances saw %d of the clients' %d requests, %d of these again after a retry, none twice that may not be", log.Logged, r.Sent, log.Repeated)
}

// ---- Deployments ----

// soakStrategies are the strategies by their names.
func soakStrategies() map[string]string {
	return map[string]string{
		"blue-green": "blue-green: {bake: 500ms}",
		"canary":     "canary: {steps: [weight: 20, bake: 500ms, weight: 60, bake: 500ms, weight: 100, bake: 300ms]}",
		"rolling":    "rolling: {max_surge: 1, max_unavailable: 0, bake: 200ms}",
		"exclusive":  "exclusive: {hold: {time: 60s}, bake: 300ms}",
	}
}

// soakSpec is a release of the demo.
func (k *soak) soakSpec(strategy, behaviour string) fmt.Stringer {
	r := release{
		version: fmt.Sprint(k.releases + 1), behaviour: behaviour, instances: 3, strategy: strategy, drain: 30 * time.Second,
		env: "  DEMO_SEEN: " + k.seen + "\n", warm: 20 * time.Second,
		more: "route: {drain: [{path: /ws, time: 3s}]}\n",
	}
	if behaviour == "unhealthy" {
		r.deadline = time.Second
	}
	if strings.HasPrefix(strategy, "exclusive") {
		return soakText(strings.Replace(quickHealth(r.String()), "warm: 20s\n", "", 1))
	}
	return soakText(quickHealth(r.String()))
}

// quickHealth finds an instance that hangs within a second.
func quickHealth(spec string) string { return strings.Replace(spec, "timeout: 5s", "timeout: 1s", 1) }

type soakText string

func (t soakText) String() string { return string(t) }

// deploySoak begins a deployment by the name of a strategy, or by itself, and returns its id.
func (k *soak) deploySoak(strategy, behaviour string) string {
	k.t.Helper()
	if known := soakStrategies()[strategy]; known != "" {
		strategy = known
	}
	file := k.write("segue.yaml", k.soakSpec(strategy, behaviour).String(), 0o644)
	k.expect(4, "deploy", "-f", file, "--wait=false")
	k.releases++
	return k.beganNow()
}

// beganNow is the id of the deployment that has just been asked for.
func (k *soak) beganNow() string {
	k.t.Helper()
	st, err := k.look()
	if err != nil {
		k.t.Fatalf("after a deployment was asked for: %v", err)
	}
	k.due = append(k.due, st.Deployment.ID)
	return st.Deployment.ID
}

// beside begins a deployment of any strategy, or none, during which something is to happen.
func (k *soak) beside() string {
	k.t.Helper()
	if k.random.IntN(4) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(soakStrategies()))
	id := k.deploySoak(names[k.random.IntN(len(names))], "")
	k.moment(1500)
	return id
}

// moment waits for as long as chance will have it, in milliseconds at most.
func (k *soak) moment(most int) { time.Sleep(time.Duration(k.random.IntN(most)) * time.Millisecond) }

// ends waits for the end of a deployment, which must be one of the phases.
func (k *soak) ends(id string, phases ...string) {
	k.t.Helper()
	if id == "" {
		return
	}
	var d deployment
	eventually(k.t, "the end of "+id, func() bool {
		st, err := k.look()
		d = st.Deployment
		return err == nil && d.ID == id && d.final()
	})
	if !slices.Contains(phases, d.Phase) {
		k.t.Errorf("%s is %s, want %s: %s", id, d.Phase, strings.Join(phases, " or "), d.Reason)
	}
	if d.Phase == "promoted" {
		k.stable = d.Candidate
	}
}

func (k *soak) promoted(id string) {
	k.t.Helper()
	k.ends(id, "promoted")
}

// broken deploys a release that must be taken back.
func (k *soak) broken() {
	names := slices.Sorted(maps.Keys(soakStrategies()))
	strategy := soakStrategies()[names[k.random.IntN(len(names))]]
	behaviours := []string{"crash", "unhealthy", "smoke-fails", "errors=60", "crash-at=5"}
	behaviour := behaviours[k.random.IntN(len(behaviours))]
	candidate := fmt.Sprintf("r%d", k.releases+1)
	switch behaviour {
	case "errors=60":
		strategy = "canary: {steps: [weight: 30, bake: 60s, weight: 100, bake: 1s]}"
		k.account.errs[candidate] = true
	case "crash-at=5":
		strategy = "canary: {steps: [weight: 30, bake: 60s, weight: 100, bake: 1s]}"
		k.account.dies(candidate, time.Now())
	}
	k.ends(k.deploySoak(strategy, behaviour), "failed")
}

// rollback makes the release before the stable one.
func (k *soak) rollback() {
	res := k.Run(k.t.Context(), "rollback", "-s", "web", "--wait=false")
	if res.Code != 4 {
		k.say("no rollback: %s", strings.TrimSpace(res.Stderr))
		k.promoted(k.deploySoak("canary", ""))
		return
	}
	id := k.beganNow()
	k.promoted(id)
}

// abort ends a deployment at any moment.
func (k *soak) abort() {
	names := slices.Sorted(maps.Keys(soakStrategies()))
	id := k.deploySoak(names[k.random.IntN(len(names))], "")
	k.moment(2500)
	k.Run(k.t.Context(), "abort", "-s", "web", id) // It may have ended.
	k.ends(id, "aborted", "promoted")
}

// pause pauses a deployment at any moment and resumes it.
func (k *soak) pause() {
	names := slices.Sorted(maps.Keys(soakStrategies()))
	id := k.deploySoak(names[k.random.IntN(len(names))], "")
	k.moment(1500)
	k.Run(k.t.Context(), "pause", "-s", "web", id, "--for", "1m") // As above.
	k.moment(1500)
	k.Run(k.t.Context(), "resume", "-s", "web", id)
	k.promoted(id)
}
