package spec

// Strategy is how traffic moves to the candidate; exactly one is given.
type Strategy struct {
	// BlueGreen moves all traffic at once to a candidate that runs beside
	// stable.
	BlueGreen *BlueGreen `yaml:"blue-green,omitempty" json:"blue-green,omitempty" spec:"choice"`
	// Canary moves the traffic in steps.
	Canary *Canary `yaml:"canary,omitempty" json:"canary,omitempty" spec:"choice"`
	// Rolling replaces instances a few at a time.
	Rolling *Rolling `yaml:"rolling,omitempty" json:"rolling,omitempty" spec:"choice"`
	// Exclusive stops stable before the candidate starts, and holds the requests
	// meanwhile.
	Exclusive *Exclusive `yaml:"exclusive,omitempty" json:"exclusive,omitempty" spec:"choice"`
	// Worker is for a service that takes no requests.
	Worker *Worker `yaml:"worker,omitempty" json:"worker,omitempty" spec:"choice"`
}

// keepsWarm says whether the old release may go on running beside the new one.
func (s Strategy) keepsWarm() bool { return s.Exclusive == nil && s.Worker == nil }

// BlueGreen moves all traffic at once to a candidate that runs beside stable.
type BlueGreen struct {
	// Preview chooses requests that reach the candidate before it has traffic.
	Preview []Match `yaml:"preview,omitempty" json:"preview,omitempty"`
	// Approve waits for somebody's word before the traffic moves.
	Approve *Approve `yaml:"approve,omitempty" json:"approve,omitempty"`
	// Bake is how long the candidate is watched under traffic while the way
	// back is one table swap.
	Bake Duration `yaml:"bake" json:"bake"`
}

// Canary moves the traffic in steps.
type Canary struct {
	// Steps are done in this order; weights rise, and after the last step the
	// candidate gets the rest of the traffic.
	Steps []CanaryStep `yaml:"steps" json:"steps" jsonschema:"minItems=1"`
	// Analysis judges the candidate in every bake.
	Analysis *Analysis `yaml:"analysis,omitempty" json:"analysis,omitempty"`
	// Instances is how many the candidate has before it gets all traffic: auto
	// is its weight's share of them, full is all, and a number is that many. It is
	// scaled before a shift.
	Instances CandidateInstances `yaml:"instances" json:"instances"`
	// Match chooses requests that go to the candidate whatever its weight.
	Match []Match `yaml:"match,omitempty" json:"match,omitempty"`
	// Mirror sends copies of requests to the candidate.
	Mirror *Mirror `yaml:"mirror,omitempty" json:"mirror,omitempty"`
}

// CanaryStep is one step; exactly one of its fields is given. In a list, the words
// approve and verify alone stand for those steps with their defaults.
type CanaryStep struct {
	// Weight is the candidate's share of the traffic from here on, in percent.
	Weight int `yaml:"weight,omitempty" json:"weight,omitempty" jsonschema:"minimum=1,maximum=100" spec:"choice"`
	// Bake watches the candidate for a time.
	Bake Bake `yaml:"bake,omitempty" json:"bake,omitzero" spec:"choice"`
	// Approve waits for somebody's word.
	Approve *Approve `yaml:"approve,omitempty" json:"approve,omitempty" spec:"choice"`
	// Verify checks the candidate.
	Verify *Verify `yaml:"verify,omitempty" json:"verify,omitempty" spec:"choice"`
}

// CandidateInstances is how many instances a candidate has: "auto", "full", or a
// number.
type CandidateInstances string

// The values of CandidateInstances beside numbers.
const (
	// InstancesAuto: its weight's share of them, at least one.
	InstancesAuto CandidateInstances = "auto"
	// InstancesFull: all of them.
	InstancesFull CandidateInstances = "full"
)

// Approve waits until somebody promotes the deployment.
type Approve struct {
	// Deadline is how long it waits.
	Deadline Duration `yaml:"deadline" json:"deadline"`
	// Then is what happens at the deadline: abort or promote.
	Then Then `yaml:"then" json:"then" jsonschema:"enum=abort,enum=promote"`
}

// Then is what happens at the deadline of a wait: "abort" or "promote".
type Then string

// The values of Then.
const (
	// ThenAbort gives all traffic back to stable.
	ThenAbort Then = "abort"
	// ThenPromote goes on.
	ThenPromote Then = "promote"
)

// Verify checks the candidate in the middle of a deployment.
type Verify struct {
	// Checks are done in this order; without any the smoke tests are.
	Checks []Check `yaml:"checks,omitempty" json:"checks,omitempty"`
}

// Mirror sends copies of safe requests to the candidate, whose answers nobody
// gets.
type Mirror struct {
	// Share of the requests that are copied.
	Share Percent `yaml:"share" json:"share"`
	// Compare is what of the answers must be the same as stable's: status or body.
	Compare string `yaml:"compare" json:"compare" jsonschema:"enum=status,enum=body"`
	// MaxInFlight is how many copies may be under way; beyond it none are made.
	MaxInFlight int `yaml:"max_in_flight" json:"max_in_flight" jsonschema:"minimum=1"`
	// MaxBody is the largest answer that is compared by its body.
	MaxBody Size `yaml:"max_body" json:"max_body"`
}

// The values of Mirror.Compare.
const (
	CompareStatus = "status"
	CompareBody   = "body"
)

// Rolling replaces instances a few at a time; the weight follows.
type Rolling struct {
	// MaxSurge is how many instances there may be beyond the service's own number,
	// as a count or in percent of it, rounded up.
	MaxSurge Amount `yaml:"max_surge" json:"max_surge"`
	// MaxUnavailable is how many may be missing, as a count or in percent, rounded
	// down.
	MaxUnavailable Amount `yaml:"max_unavailable" json:"max_unavailable"`
	// Bake watches the new instances after each replacement.
	Bake Bake `yaml:"bake" json:"bake"`
	// Analysis judges the candidate in every bake.
	Analysis *Analysis `yaml:"analysis,omitempty" json:"analysis,omitempty"`
	// Match chooses requests that go to the candidate whatever its weight.
	Match []Match `yaml:"match,omitempty" json:"match,omitempty"`
}

// Amount is a number of instances, "2", or a share of them, "25%".
type Amount string

// Exclusive stops stable before the candidate starts: the two never run at once.
type Exclusive struct {
	// Hold bounds the requests that wait meanwhile.
	Hold Hold `yaml:"hold" json:"hold"`
	// Ready is how long the candidate may take to be ready and checked; after it
	// stable is started again.
	Ready Duration `yaml:"ready" json:"ready"`
	// Bake is how long the candidate is watched under traffic.
	Bake Duration `yaml:"bake" json:"bake"`
}

// Hold bounds the requests that the proxy keeps waiting. What is over a bound is
// answered with 503.
type Hold struct {
	// Time is the longest that a request waits.
	Time Duration `yaml:"time" json:"time"`
	// Requests is how many wait at most.
	Requests int `yaml:"requests" json:"requests" jsonschema:"minimum=1,maximum=1000000"`
	// Bytes is how much of them is kept in memory at most.
	Bytes Size `yaml:"bytes" json:"bytes"`
}

// Worker is for a service that takes no requests.
type Worker struct {
	// Order is overlap, which starts the candidate and then stops stable, or
	// exclusive, which stops stable first.
	Order string `yaml:"order" json:"order" jsonschema:"enum=overlap,enum=exclusive"`
	// Bake is how long the candidate is watched.
	Bake Duration `yaml:"bake" json:"bake"`
}

// The values of Worker.Order.
const (
	OrderOverlap   = "overlap"
	OrderExclusive = "exclusive"
)

// DefaultRolling is the rolling strategy with all its defaults, which a restart
// uses.
func DefaultRolling() *Rolling { return defaultRolling() }

// Match returns the rules by which requests reach the candidate whatever its
// weight.
func (s Strategy) Match() []Match {
	switch {
	case s.BlueGreen != nil:
		return s.BlueGreen.Preview
	case s.Canary != nil:
		return s.Canary.Match
	case s.Rolling != nil:
		return s.Rolling.Match
	}
	return nil
}

// String is the rule in words: "header X-Preview: yes".
func (m Match) String() string {
	text := ""
	switch {
	case m.Header != "":
		text = "header " + m.Header
	case m.Cookie != "":
		text = "cookie " + m.Cookie
	case m.Query != "":
		text = "query parameter " + m.Query
	case m.Host != "":
		text = "host " + m.Host
	}
	if m.Value != "" {
		text += ": " + m.Value
	}
	return text
}
