package analysis

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Judge adds up what is known about a candidate. It isn't safe for concurrent use.
//
// Its JSON form is what a restart keeps; [Restore] reads it back.
type Judge struct {
	settings Settings
	metrics  []metric
	verdict  Verdict
	culprit  string
	clients  []uint64
}

// metric is the test of one [Metric].
type metric struct {
	Metric
	errors  *Comparison // of Errors
	latency *latency    // of Latency
	passed  bool
}

// What makes a fail believable beside its evidence: so many clients that had a failure of the
// candidate, or so many failures, as behind a load balancer all clients may look like one. At a
// low weight two failures can be evidence enough, and one client with a broken request isn't.
// Of slow requests nobody knows whose they are; fewer are enough, since a client whose requests
// take long makes them take as long at stable.
const (
	enoughClients  = 2
	enoughFailures = 10
	enoughSlow     = 5
)

// New returns a judge that has seen nothing. Its errors are those of [Settings.Validate].
func New(s Settings) (*Judge, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s.Metrics = slices.Clone(s.Metrics)
	j := &Judge{settings: s, verdict: Inconclusive, clients: make([]uint64, 0, enoughClients)}
	for _, m := range s.Metrics {
		made := metric{Metric: m}
		if m.Kind == Latency {
			made.latency = newLatency(m.Factor, s.Ticks)
		} else {
			made.errors = NewComparison(m.Factor, m.Margin, s.Ticks)
		}
		j.metrics = append(j.metrics, made)
	}
	return j, nil
}

// Verdict is what the evidence has said so far. A fail stands; a pass stands until a fail.
func (j *Judge) Verdict() Verdict { return j.verdict }

// Observe adds a tick and returns the verdict. Ticks without requests change nothing.
func (j *Judge) Observe(t Tick) Verdict {
	for i := range j.metrics {
		j.metrics[i].observe(t)
	}
	for i := range t {
		j.addClients(t[i].Candidate.Clients)
	}
	j.decide()
	return j.verdict
}

func (j *Judge) addClients(clients []uint64) {
	for _, c := range clients {
		if len(j.clients) < enoughClients && !slices.Contains(j.clients, c) {
			j.clients = append(j.clients, c)
		}
	}
}

func (j *Judge) decide() {
	if j.verdict == Fail {
		return
	}
	if j.fail() >= math.Log(1/j.settings.Alpha) {
		if suspect := j.suspect(); j.believable(suspect) {
			j.verdict, j.culprit = Fail, suspect.Name
			return
		}
	}
	all := true
	for i := range j.metrics {
		m := &j.metrics[i]
		_, pass := m.evidence()
		m.passed = m.passed || pass >= math.Log(1/j.settings.Beta)
		all = all && (m.passed || m.Optional)
	}
	if all {
		j.verdict = Pass
	}
}

// fail is the logarithm of the evidence of all metrics together: the average of theirs, by
// their shares, which is as good a bet as each of them, however they depend on one another.
func (j *Judge) fail() float64 {
	sum := math.Inf(-1)
	for i := range j.metrics {
		fail, _ := j.metrics[i].evidence()
		sum = sumLogs(sum, fail+math.Log(j.metrics[i].Share))
	}
	return sum
}

// suspect is the metric that has the most evidence against the candidate.
func (j *Judge) suspect() *metric {
	var found *metric
	most := math.Inf(-1)
	for i := range j.metrics {
		m := &j.metrics[i]
		fail, _ := m.evidence()
		if fail += math.Log(m.Share); found == nil || fail > most {
			found, most = m, fail
		}
	}
	return found
}

// believable says whether more than one client can be meant by what m has found.
func (j *Judge) believable(m *metric) bool {
	if m.latency != nil {
		_, candidate := m.latency.leading().Counts() // which don't say whose they are
		return candidate.Failed >= enoughSlow
	}
	_, candidate := m.errors.Counts()
	return len(j.clients) >= enoughClients || candidate.Failed >= enoughFailures
}

func (m *metric) observe(t Tick) {
	if m.latency != nil {
		m.latency.observe(t, m.Stream)
		return
	}
	begun := false
	for i := range t {
		s := &t[i]
		if s.Stream != m.Stream || s.Stable.Requests+s.Candidate.Requests == 0 {
			continue
		}
		if !begun {
			m.errors.Begin()
			begun = true
		}
		m.errors.Add(s.Weight, s.Stable.counts(), s.Candidate.counts())
	}
}

func (m *metric) evidence() (fail, pass float64) {
	if m.latency != nil {
		return m.latency.evidence()
	}
	return m.errors.Evidence()
}

func (a *Arm) counts() Counts { return Counts{a.Requests, a.Failed} }

// Report says why the verdict is what it is.
func (j *Judge) Report() Report {
	r := Report{
		Verdict: j.verdict,
		Culprit: j.culprit,
		Fail:    newEvidence(j.fail(), 1/j.settings.Alpha),
	}
	for i := range j.metrics {
		m := &j.metrics[i]
		r.Metrics = append(r.Metrics, m.report(j.settings))
		if m.latency != nil && m.latency.muchFaster() && !slices.Contains(r.Warnings, MuchFaster) {
			r.Warnings = append(r.Warnings, MuchFaster)
		}
	}
	if j.verdict != Fail && r.Fail.Value >= r.Fail.Enough {
		r.Warnings = append(r.Warnings, OneClient)
	}
	r.Missing = j.missing()
	return r
}

func (m *metric) report(s Settings) MetricReport {
	fail, pass := m.evidence()
	r := MetricReport{
		Name: m.Name,
		Kind: m.Kind,
		Fail: newEvidence(fail, 1/(m.Share*s.Alpha)),
		Pass: newEvidence(pass, 1/s.Beta),
	}
	c := m.errors
	if m.latency != nil {
		c = m.latency.report(&r)
	}
	stable, candidate := c.Counts()
	r.Stable, r.Candidate = newEstimate(stable), newEstimate(candidate)
	r.Missing = sooner(m.missing(s))
	return r
}

func newEvidence(log, enough float64) Evidence {
	return Evidence{Value: math.Exp(min(log, math.Log(maxEvidence))), Enough: enough}
}

// missing returns about how many more requests of the candidate it takes to a verdict: a
// fail takes one metric, a pass all of them.
func (j *Judge) missing() uint64 {
	if j.verdict != Inconclusive {
		return 0
	}
	var toFail, toPass uint64
	every := true
	for i := range j.metrics {
		fail, pass := j.metrics[i].missing(j.settings)
		toFail = sooner(toFail, fail)
		toPass = max(toPass, pass)
		every = every && (pass > 0 || j.metrics[i].passed)
	}
	if !every {
		return toFail
	}
	return sooner(toFail, toPass)
}

// missing returns about how many more requests of the candidate a metric takes to either
// end; 0 is never, or that it is there.
func (m *metric) missing(s Settings) (fail, pass uint64) {
	enough := math.Log(1 / (m.Share * s.Alpha))
	if m.latency != nil {
		fail, pass = m.latency.missing(enough, math.Log(1/s.Beta))
	} else {
		fail, pass = m.errors.missing(enough, math.Log(1/s.Beta))
	}
	if m.passed {
		pass = 0
	}
	return fail, pass
}

// sooner returns the lesser of two numbers of which 0 is never.
func sooner(a, b uint64) uint64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// judgeState is what a restart keeps.
type judgeState struct {
	Verdict Verdict                `json:"verdict"`
	Culprit string                 `json:"culprit,omitempty"`
	Clients []uint64               `json:"clients,omitempty"`
	Metrics map[string]metricState `json:"metrics"`
}

type metricState struct {
	Passed  bool        `json:"passed,omitempty"`
	Errors  *Comparison `json:"errors,omitempty"`
	Latency *latency    `json:"latency,omitempty"`
}

// MarshalJSON writes all that the judge has seen, but for its settings.
func (j *Judge) MarshalJSON() ([]byte, error) {
	s := judgeState{j.verdict, j.culprit, j.clients, map[string]metricState{}}
	for _, m := range j.metrics {
		s.Metrics[m.Name] = metricState{m.passed, m.errors, m.latency}
	}
	return json.Marshal(s)
}

// Restore returns the judge that state is of, as [Judge.MarshalJSON] wrote it, with the same
// settings. It goes on with the same evidence.
func Restore(s Settings, state []byte) (*Judge, error) {
	j, err := New(s)
	if err != nil {
		return nil, err
	}
	var raw struct {
		judgeState
		Metrics map[string]json.RawMessage `json:"metrics"`
	}
	if err := json.Unmarshal(state, &raw); err != nil {
		return nil, fmt.Errorf("analysis: read the state of a judge: %w", err)
	}
	if len(raw.Metrics) != len(j.metrics) {
		return nil, fmt.Errorf("analysis: the state is of %d metrics, the settings have %d", len(raw.Metrics), len(j.metrics))
	}
	for i := range j.metrics {
		m := &j.metrics[i]
		text, found := raw.Metrics[m.Name]
		if !found {
			return nil, fmt.Errorf("analysis: the state knows no metric %q, which the settings have", m.Name)
		}
		into := metricState{Errors: m.errors, Latency: m.latency}
		if err := json.Unmarshal(text, &into); err != nil {
			return nil, fmt.Errorf("analysis: read the state of metric %q: %w", m.Name, err)
		}
		m.passed = into.Passed
	}
	j.verdict, j.culprit = raw.Verdict, raw.Culprit
	j.clients = append(j.clients, raw.Clients...)
	return j, nil
}
