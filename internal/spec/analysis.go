package spec

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

// Analysis judges a candidate by its requests while it bakes beside stable, and by what
// other sources say. It takes back one that is worse than stable by more than a margin.
type Analysis struct {
	// FalseAlarms is the share of good candidates that may be taken back for what is
	// compared, however long and often it is looked at.
	FalseAlarms Percent `yaml:"false_alarms" json:"false_alarms"`
	// WrongPasses is the share of candidates as bad as the margin, or worse, that may
	// pass.
	WrongPasses Percent `yaml:"wrong_passes" json:"wrong_passes"`
	// Errors compares how many requests fail.
	Errors CompareErrors `yaml:"errors" json:"errors"`
	// Latency compares how long requests take.
	Latency CompareLatency `yaml:"latency" json:"latency"`
	// Failures says which answers are failures; a request without a whole answer is
	// one in any case.
	Failures Failures `yaml:"failures" json:"failures"`
	// Maturity is the age at which a request is judged; one that isn't over then is
	// slow, and no failure.
	Maturity Duration `yaml:"maturity" json:"maturity"`
	// WarmUp is how long the candidate's first requests aren't judged.
	WarmUp Duration `yaml:"warm_up" json:"warm_up"`
	// Checks ask other sources.
	Checks []AnalysisCheck `yaml:"checks,omitempty" json:"checks,omitempty"`
	// Probe sends requests to both releases, for a service that gets few.
	Probe *TrafficProbe `yaml:"probe,omitempty" json:"probe,omitempty"`
	// Inconclusive is what happens at the end of a bake without a verdict: approve
	// waits for somebody's word, promote goes on, abort gives all traffic back.
	Inconclusive Inconclusive `yaml:"inconclusive" json:"inconclusive" jsonschema:"enum=approve,enum=promote,enum=abort"`
}

// CompareErrors is the margin by which more of the candidate's requests may fail than of
// stable's: factor times as many and margin more.
type CompareErrors struct {
	// Margin is in percentage points.
	Margin Percent `yaml:"margin" json:"margin"`
	// Factor is a number from 1 on.
	Factor float64 `yaml:"factor" json:"factor" jsonschema:"minimum=1,maximum=100"`
}

// CompareLatency is the margin by which the candidate's requests may take longer than
// stable's.
type CompareLatency struct {
	// Factor is a number from 1 on; 0 compares no latency.
	Factor float64 `yaml:"factor" json:"factor" jsonschema:"minimum=0,maximum=100"`
}

// Failures says which answers are failures, each of its fields on its own.
type Failures struct {
	// Status are statuses, as in 5xx, 404 or 500-503.
	Status []StatusRange `yaml:"status" json:"status"`
	// Header is a field of the answer by its name, or with its value as in
	// "X-Result: failed".
	Header string `yaml:"header,omitempty" json:"header,omitempty"`
	// GRPC are codes of gRPC, as in 13.
	GRPC []int `yaml:"grpc" json:"grpc"`
	// Slower is how long an answer may take; 0s is any time.
	Slower Duration `yaml:"slower,omitempty" json:"slower,omitempty"`
}

// AnalysisCheck asks another source again and again while the candidate bakes; exactly one
// of prometheus, command and webhook is given.
type AnalysisCheck struct {
	// Name is what it is called in what Segue prints; its source without.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Prometheus asks a server of Prometheus.
	Prometheus *Prometheus `yaml:"prometheus,omitempty" json:"prometheus,omitempty" spec:"choice"`
	// Command is run as that of a check; exit code 0 is good, 75 says that it doesn't
	// know (EX_TEMPFAIL of sysexits.h), and any other is bad.
	Command []string `yaml:"command,omitempty" json:"command,omitempty" jsonschema:"minItems=1" spec:"choice"`
	// Webhook is a URL that gets a POST; its answer is {"verdict": "pass"}, "fail" or
	// "inconclusive", and may have a "message".
	Webhook string `yaml:"webhook,omitempty" json:"webhook,omitempty" spec:"choice"`
	// Every is how often it is asked.
	Every Duration `yaml:"every" json:"every"`
	// Timeout is how long it may take; one that takes longer doesn't know.
	Timeout Duration `yaml:"timeout" json:"timeout"`
	// Failures is how many bad answers in a row take the candidate back.
	Failures int `yaml:"failures" json:"failures" jsonschema:"minimum=1,maximum=1000"`
}

// Prometheus is an instant query and what its value may be. No value, NaN and an error are
// no answer: they take nothing back, and let nothing pass.
type Prometheus struct {
	// Server is its URL, as in http://127.0.0.1:9090.
	Server string `yaml:"server" json:"server" jsonschema:"required"`
	// Query has one value as its result. It may use the templates {{.Service}},
	// {{.Release}} and {{.Stable}}.
	Query string `yaml:"query,omitempty" json:"query,omitempty"`
	// Max is the highest good value.
	Max *float64 `yaml:"max,omitempty" json:"max,omitempty"`
	// Min is the lowest good value.
	Min *float64 `yaml:"min,omitempty" json:"min,omitempty"`
	// Compare has the counters of both releases compared as requests are.
	Compare *CompareCounters `yaml:"compare,omitempty" json:"compare,omitempty"`
}

// CompareCounters are queries for counters, which grow from zero: how many requests a
// release has had, and how many of them failed. {{.Release}} is the candidate in one pair
// of queries and stable in the other.
type CompareCounters struct {
	// Requests counts all.
	Requests string `yaml:"requests" json:"requests" jsonschema:"required"`
	// Failed counts those that failed.
	Failed string `yaml:"failed" json:"failed" jsonschema:"required"`
}

// TrafficProbe is a GET request that is sent to both releases at a rate.
type TrafficProbe struct {
	// Path starts with a slash and may have a query.
	Path string `yaml:"path" json:"path" jsonschema:"required,pattern=^/"`
	// Rate is how many a second each release gets.
	Rate float64 `yaml:"rate" json:"rate"`
}

// Inconclusive is what happens at the end of a bake without a verdict.
type Inconclusive string

// The values of Inconclusive.
const (
	// InconclusiveApprove waits for somebody's word.
	InconclusiveApprove Inconclusive = "approve"
	// InconclusivePromote goes on.
	InconclusivePromote Inconclusive = "promote"
	// InconclusiveAbort gives all traffic back to stable.
	InconclusiveAbort Inconclusive = "abort"
)

// Bake watches a candidate under traffic; a duration alone is its max.
type Bake struct {
	// Max is how long at most.
	Max Duration `yaml:"max" json:"max" spec:"short"`
	// Early ends it as soon as the analysis passes.
	Early bool `yaml:"early,omitempty" json:"early,omitempty"`
}

// StatusRange are the statuses from one to another, written as "5xx", "404" or
// "500-503".
type StatusRange string

var (
	statusClass = regexp.MustCompile(`^[1-5]xx$`)
	statusPair  = regexp.MustCompile(`^([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?$`)
)

// Bounds returns the first status and the last one; of what is no StatusRange they are 0.
func (r StatusRange) Bounds() (from, to int) {
	if statusClass.MatchString(string(r)) {
		from = int(r[0]-'0') * 100
		return from, from + 99
	}
	pair := statusPair.FindStringSubmatch(string(r))
	if pair == nil {
		return 0, 0
	}
	from, _ = strconv.Atoi(pair[1])
	to, _ = strconv.Atoi(cmp.Or(pair[2], pair[1]))
	return from, to
}

// UnmarshalText reads what [StatusRange] describes.
func (r *StatusRange) UnmarshalText(text []byte) error {
	read := StatusRange(text)
	if f := read.check(); f != nil {
		return f
	}
	*r = read
	return nil
}

func (r StatusRange) check() *flaw {
	from, to := r.Bounds()
	switch {
	case from == 0:
		return &flaw{fmt.Sprintf("must be statuses, not %q", string(r)), "write them as in 5xx, 404 or 500-503"}
	case to < from:
		return &flaw{fmt.Sprintf("must be from a lower status to a higher one, not %s", string(r)), ""}
	}
	return nil
}

// HeaderValue returns the two parts of a failure's header.
func (f Failures) HeaderValue() (name, value string) {
	name, value, _ = strings.Cut(f.Header, ":")
	return strings.TrimSpace(name), strings.TrimSpace(value)
}

// QueryVars are the values that a query can name.
type QueryVars struct{ Service, Release, Stable string }

// FillQuery fills in the templates of a query.
func FillQuery(text string, v QueryVars) (string, error) {
	t, err := template.New("query").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var filled strings.Builder
	if err := t.Execute(&filled, v); err != nil {
		return "", err
	}
	return filled.String(), nil
}
