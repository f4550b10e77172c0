package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/journal"
	"github.com/segue-deploy/segue/internal/proxy"
	"github.com/segue-deploy/segue/internal/spec"
)

const (
	// judgeEvery is how often an analysis gets the counters, keepEvery how often what it
	// has found is journalled.
	judgeEvery = time.Second
	keepEvery  = 5 * time.Second
)

// judging is the analysis of a deployment while its candidate is watched. It goes on from
// one bake to the next, and from one daemon to the next: what it has found stands in the
// journal.
type judging struct {
	spec      *spec.Analysis
	id        string
	candidate string
	settings  analysis.Settings
	judge     *analysis.Judge
	// from is when the candidate's requests begin to be judged.
	from time.Time
	// Of the proxy's epoch, given is what the judge has been given already.
	epoch string
	given map[string][]proxy.Score
	// sources are asked beside it, and answers is what they say.
	sources []source
	checks  []CheckFinding
	answers chan answer
	// counted is what they have counted since the judge was given something, and probing
	// what is counted of probes; nil is none.
	counted []analysis.Stratum
	probing *probing
	// observed and kept are when the judge was given something, and when that was
	// journalled.
	observed, kept time.Time
	// said is the verdict that was journalled last.
	said analysis.Verdict
}

// CheckFinding is what one of an analysis' checks says.
type CheckFinding struct {
	Name string `json:"name"`
	// Verdict is that of the last answer, and inconclusive before the first.
	Verdict analysis.Verdict `json:"verdict"`
	// Found is what it was, or what was wrong with it.
	Found string `json:"found,omitempty"`
	// Failures is how many of the last answers in a row were bad.
	Failures int `json:"failures,omitempty"`
}

// Finding is what an analysis has found about a deployment's candidate so far.
type Finding struct {
	Verdict analysis.Verdict `json:"verdict"`
	// Reason is one sentence: why it is that, or what is missing.
	Reason string          `json:"reason"`
	Report analysis.Report `json:"report"`
	Checks []CheckFinding  `json:"checks,omitempty"`
}

// judging begins a deployment's analysis, or goes on with it; nil when it has none.
func (s *service) judging(ctx context.Context, d *Deployment) (*judging, error) {
	state := s.snapshot()
	candidate := state.Release(d.Candidate)
	a := analysisOf(candidate)
	if a == nil || d.Phase != PhaseRunning || d.Candidate == d.Stable {
		return nil, nil
	}
	j := &judging{spec: a, id: d.ID, candidate: d.Candidate, settings: settingsOf(a, planOf(d)), from: judgedFrom(d, a), given: map[string][]proxy.Score{}}
	last, err := s.lastJudged(ctx, d)
	if err != nil {
		return nil, err
	}
	if last == nil {
		j.judge, err = analysis.New(j.settings)
	} else {
		j.epoch, j.given = last.Epoch, last.Given
		j.judge, err = analysis.Restore(j.settings, last.State)
	}
	if err != nil {
		return nil, err
	}
	if j.sources, err = s.sources(d, a); err != nil {
		return nil, err
	}
	for i, src := range j.sources {
		j.checks = append(j.checks, CheckFinding{Name: src.name, Verdict: analysis.Inconclusive})
		if last != nil && i < len(last.Checks) {
			j.checks[i] = last.Checks[i]
		}
	}
	j.answers = make(chan answer)
	j.probing = s.probing(d, a)
	return j, nil
}

// settingsOf are what the judge goes by: every metric has the same share of the false
// alarms.
func settingsOf(a *spec.Analysis, steps []Step) analysis.Settings {
	s := analysis.Settings{Alpha: float64(a.FalseAlarms) / 100, Beta: float64(a.WrongPasses) / 100}
	for _, st := range steps {
		if st.Kind == StepBake {
			s.Ticks += int(time.Duration(st.For) / judgeEvery)
		}
	}
	s.Metrics = append(s.Metrics, analysis.Metric{Name: "errors", Kind: analysis.Errors, Factor: a.Errors.Factor, Margin: float64(a.Errors.Margin) / 100})
	if a.Latency.Factor > 0 {
		s.Metrics = append(s.Metrics, analysis.Metric{Name: "latency", Kind: analysis.Latency, Factor: a.Latency.Factor})
	}
	if a.Probe != nil {
		for _, m := range slices.Clone(s.Metrics) {
			m.Name, m.Stream = m.Name+" of probes", probeStream
			s.Metrics = append(s.Metrics, m)
		}
		// What few requests say is heard, but not waited for.
		for i := range len(s.Metrics) / 2 {
			s.Metrics[i].Optional = true
		}
	}
	for i, c := range a.Checks {
		if p := c.Prometheus; p != nil && p.Compare != nil {
			name := sourceName(i, c)
			s.Metrics = append(s.Metrics, analysis.Metric{Name: name, Kind: analysis.Errors, Stream: name, Factor: a.Errors.Factor, Margin: float64(a.Errors.Margin) / 100})
		}
	}
	for i := range s.Metrics {
		s.Metrics[i].Share = 1 / float64(len(s.Metrics))
	}
	return s
}

// planOf are the steps of a deployment's way in.
func planOf(d *Deployment) []Step {
	var steps []Step
	for _, st := range d.Steps {
		if !st.Back {
			steps = append(steps, st.Step)
		}
	}
	return steps
}

// judgedFrom is when the requests begin to be mature that came after the warm-up. It is
// zero before the candidate has traffic.
func judgedFrom(d *Deployment, a *spec.Analysis) time.Time {
	for _, st := range d.Steps {
		if st.Kind == StepShift && !st.Back && st.Status == StepDone && st.Weights[d.Candidate] > 0 {
			return st.Ended.Add(time.Duration(a.WarmUp) + time.Duration(a.Maturity))
		}
	}
	return time.Time{}
}

// lastJudged is what the analysis had found when it was journalled last, or nil.
func (s *service) lastJudged(ctx context.Context, d *Deployment) (*Judged, error) {
	records, err := s.e.cfg.Journal.Read(ctx, journal.Filter{Service: s.name, Deployment: d.Number})
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(records) {
		if r.Kind != (Judged{}).kind() {
			continue
		}
		ev, err := eventOf(r)
		if err != nil {
			return nil, err
		}
		judged := ev.Body.(Judged)
		return &judged, nil
	}
	return nil, nil
}

// observe gives the judge what the proxy has scored since the last time. Before the end of
// the warm-up it only notes what doesn't count. It says whether there was anything to look
// at.
func (j *judging) observe(now time.Time, epoch string, stats proxy.ServiceStats) bool {
	if now.Sub(j.observed) < judgeEvery {
		return false
	}
	j.observed = now
	if epoch != j.epoch {
		j.epoch, j.given = epoch, map[string][]proxy.Score{}
	}
	warm := !j.from.IsZero() && !now.Before(j.from)
	past := latencies{}
	for _, s := range j.given[stableArm] {
		past = past.plus(s)
	}
	stable, candidate := j.news(stableArm, stats, warm), j.news(j.candidate, stats, warm)
	if !warm {
		j.counted = nil
		if j.probing != nil {
			j.probing.take()
		}
		return false
	}
	var tick analysis.Tick
	for _, weight := range weightsOf(stable, candidate) {
		tick = append(tick, analysis.Stratum{
			Weight: float64(weight) / 100,
			Stable: armOf(stable[weight]), Candidate: armOf(candidate[weight]),
			Past: past,
		})
	}
	tick = append(tick, j.counted...)
	j.counted = nil
	if j.probing != nil {
		tick = append(tick, j.probing.take())
	}
	j.judge.Observe(tick)
	return true
}

// stableArm is the key under which what stable has been given is kept.
const stableArm = "stable"

// news is what was scored of the candidate, or of the others together, since the last time,
// by weight. A failure that is known before its request counts the next time.
func (j *judging) news(arm string, stats proxy.ServiceStats, warm bool) map[int]proxy.Score {
	var now []proxy.Score
	for _, r := range stats.Releases {
		if (r.ID == j.candidate) == (arm == j.candidate) {
			now = proxy.PlusScores(now, r.Scores)
		}
	}
	now = slices.DeleteFunc(now, func(s proxy.Score) bool { return s.ID != j.id })
	news := map[int]proxy.Score{}
	for i, s := range proxy.MinusScores(now, j.given[arm]) {
		if s.Failed > s.Requests {
			now[i].Failed -= s.Failed - s.Requests
			s.Failed = s.Requests
		}
		news[s.Weight] = s
	}
	j.given[arm] = now
	if !warm {
		return nil
	}
	return news
}

// weightsOf are the weights of which there is news, in order.
func weightsOf(arms ...map[int]proxy.Score) []int {
	var all []int
	for _, arm := range arms {
		for weight, s := range arm {
			if s.Requests > 0 && weight > 0 && weight < 100 {
				all = append(all, weight)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func armOf(s proxy.Score) analysis.Arm {
	return analysis.Arm{Requests: s.Requests, Failed: s.Failed, Latency: latencies{}.plus(s), Clients: s.Clients}
}

// latencies are how long requests took, of which late were longer than anything.
type latencies struct {
	ended proxy.Histogram
	late  uint64
}

func (l latencies) plus(s proxy.Score) latencies {
	return latencies{l.ended.Plus(s.Latency), l.late + s.Late()}
}

// Count is part of [analysis.Distribution].
func (l latencies) Count() uint64 { return l.ended.Count() + l.late }

// Above is part of [analysis.Distribution].
func (l latencies) Above(d time.Duration) uint64 { return l.ended.Above(d) + l.late }

// Quantile is part of [analysis.Distribution].
func (l latencies) Quantile(q float64) time.Duration {
	if l.ended.Count() == 0 {
		return 0
	}
	return l.ended.Bound(q * float64(l.Count()) / float64(l.ended.Count()))
}

// hear takes an answer of a source.
func (j *judging) hear(a answer) {
	c := &j.checks[a.source]
	if a.counted != nil {
		j.counted = append(j.counted, *a.counted)
	}
	c.Found = a.found
	if a.err == nil {
		c.Verdict, c.Failures = analysis.Pass, 0
		return
	}
	c.Found = a.err.Error()
	var bad *badError
	if !errors.As(a.err, &bad) {
		c.Verdict = analysis.Inconclusive
		return
	}
	c.Verdict, c.Failures = analysis.Fail, c.Failures+1
}

// finding is what is known by now.
func (j *judging) finding() Finding {
	f := Finding{Verdict: j.judge.Verdict(), Report: j.judge.Report(), Checks: slices.Clone(j.checks)}
	f.Reason = reasonOf(f.Report)
	for i, c := range j.checks {
		switch {
		case c.Verdict == analysis.Fail && c.Failures >= j.sources[i].Failures:
			f.Verdict, f.Reason = analysis.Fail, c.Name+": "+c.Found
			return f
		case c.Verdict != analysis.Pass && f.Verdict == analysis.Pass:
			f.Verdict, f.Reason = analysis.Inconclusive, c.Name+": "+cmp.Or(c.Found, "no answer yet")
		}
	}
	return f
}

// String is the verdict with its reason; of nil it is that nothing is known yet.
func (f *Finding) String() string {
	if f == nil {
		return "nothing yet"
	}
	return fmt.Sprintf("%s: %s", f.Verdict, f.Reason)
}

// reasonOf says in one sentence why a verdict is what it is.
func reasonOf(r analysis.Report) string {
	var parts []string
	for _, m := range r.Metrics {
		if r.Verdict != analysis.Fail || m.Name == r.Culprit {
			parts = append(parts, m.String())
		}
	}
	text := strings.Join(parts, "; ")
	if r.Verdict == analysis.Inconclusive && r.Missing > 0 {
		text += fmt.Sprintf("; about %d more requests of the candidate would tell, if they go on like this", r.Missing)
	}
	return text
}

// ask begins to ask the sources, until the function that is returned is called.
func (j *judging) ask(ctx context.Context) (stop func()) {
	if j == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i, src := range j.sources {
		all.Go(func() { src.askAll(ctx, i, j.answers) })
	}
	if j.probing != nil {
		all.Go(func() { j.probing.run(ctx) })
	}
	return func() { cancel(); all.Wait() }
}

// heard is what the sources say; nil has none.
func (j *judging) heard() <-chan answer {
	if j == nil {
		return nil
	}
	return j.answers
}

// judge gives a deployment's analysis what the proxy has counted, and fails when it does.
// What it has found is journalled from time to time, and when its verdict changes.
func (s *service) judge(ctx context.Context, d *Deployment, j *judging, stats proxy.Stats) error {
	if j == nil || !j.observe(time.Now(), stats.Epoch, serviceStats(stats, s.name)) {
		return nil
	}
	f := j.finding()
	if f.Verdict != j.said || time.Since(j.kept) >= keepEvery {
		if err := s.keepFinding(ctx, d, j); err != nil {
			return err
		}
	}
	if f.Verdict == analysis.Fail {
		return errors.New("analysis: " + f.Reason)
	}
	return nil
}

func (s *service) keepFinding(ctx context.Context, d *Deployment, j *judging) error {
	judged, err := j.judged()
	if err != nil {
		return err
	}
	j.kept, j.said = time.Now(), judged.Verdict
	return s.commit(ctx, d.Number, judged)
}

// judged is what is journalled of it.
func (j *judging) judged() (Judged, error) {
	state, err := json.Marshal(j.judge)
	if err != nil {
		return Judged{}, fmt.Errorf("keep the state of the analysis: %w", err)
	}
	return Judged{Finding: j.finding(), State: state, Epoch: j.epoch, Given: j.given}, nil
}
