package analysis

import "fmt"

// String is what the metric says, in one sentence: "errors: 12 of the candidate's 230
// requests failed (5.2 %, between 2.3 and 9.8 %), …".
func (m MetricReport) String() string {
	if m.Candidate.Requests == 0 {
		return m.Name + ": none of the candidate's requests could be judged yet"
	}
	candidate, stable := "failed", "of stable's"
	if m.Kind == Latency {
		candidate = fmt.Sprintf("took longer than %s", m.Above.Candidate)
		stable = fmt.Sprintf("longer than %s of stable's", m.Above.Stable)
	}
	return fmt.Sprintf("%s: %d of the candidate's %d requests %s (%s), and %s %d of %d (%s); %s",
		m.Name, m.Candidate.Failed, m.Candidate.Requests, candidate, m.Candidate,
		stable, m.Stable.Failed, m.Stable.Requests, m.Stable, m.weight())
}

// weight is the evidence that says more: for the candidate or against it.
func (m MetricReport) weight() string {
	if m.Pass.Value/m.Pass.Enough > m.Fail.Value/m.Fail.Enough {
		return fmt.Sprintf("the evidence for it is %s, enough is %.3g", m.Pass, m.Pass.Enough)
	}
	return fmt.Sprintf("the evidence against it is %s, enough is %.3g", m.Fail, m.Fail.Enough)
}

// String is the evidence as a number that a person can take in.
func (e Evidence) String() string {
	if e.Value >= maxEvidence {
		return "beyond all doubt"
	}
	return fmt.Sprintf("%.3g", e.Value)
}

// String is the share with the interval that holds it.
func (e Estimate) String() string {
	return fmt.Sprintf("%.3g %%, between %.3g and %.3g %%", 100*e.Share, 100*e.Low, 100*e.High)
}
