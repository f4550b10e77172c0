package deploy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/segue-deploy/segue/internal/analysis"
	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/spec"
)

// exitUnknown is the exit code of a command that doesn't know: EX_TEMPFAIL of sysexits.h.
const exitUnknown = 75

// source is what a check of an analysis asks again and again.
type source struct {
	spec.AnalysisCheck
	name string
	// ask returns nil when what it has found is good, an error that is a *badError when it
	// is bad, and any other error when it doesn't know.
	ask func(ctx context.Context) (found string, err error)
	// compare is set for one that compares counters, and has no ask.
	compare *comparing
}

// badError says what is bad about a candidate.
type badError struct{ message string }

func (e *badError) Error() string { return e.message }

// sources are the checks of a deployment's analysis.
func (s *service) sources(d *Deployment, a *spec.Analysis) ([]source, error) {
	var all []source
	for i, check := range a.Checks {
		one := source{AnalysisCheck: check, name: sourceName(i, check)}
		switch p := check.Prometheus; {
		case p != nil && p.Compare != nil:
			var err error
			if one.compare, err = s.comparing(d, one.name, p); err != nil {
				return nil, err
			}
		case p != nil:
			server, err := analysis.NewPrometheus(p.Server)
			if err != nil {
				return nil, err
			}
			query, err := spec.FillQuery(p.Query, spec.QueryVars{Service: s.name, Release: d.Candidate, Stable: d.Stable})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one.name, err)
			}
			one.ask = func(ctx context.Context) (string, error) {
				value, err := server.Value(ctx, query)
				if err != nil {
					return "", err
				}
				return within(value, p.Min, p.Max)
			}
		case check.Webhook != "":
			one.ask = func(ctx context.Context) (string, error) { return askWebhook(ctx, check.Webhook, s.name, d) }
		default:
			one.ask = func(ctx context.Context) (string, error) { return s.askCommand(ctx, d.Candidate, check.Command) }
		}
		all = append(all, one)
	}
	return all, nil
}

// sourceName is what a check is called.
func sourceName(i int, c spec.AnalysisCheck) string {
	switch {
	case c.Name != "":
		return c.Name
	case c.Prometheus != nil:
		return fmt.Sprintf("check %d (prometheus)", i+1)
	case c.Webhook != "":
		return fmt.Sprintf("check %d (webhook)", i+1)
	}
	return fmt.Sprintf("check %d (%s)", i+1, c.Command[0])
}

// within holds a value against its bounds, of which nil is none.
func within(value float64, least, most *float64) (string, error) {
	switch {
	case most != nil && value > *most:
		return "", &badError{fmt.Sprintf("%v is more than %v", value, *most)}
	case least != nil && value < *least:
		return "", &badError{fmt.Sprintf("%v is less than %v", value, *least)}
	}
	return fmt.Sprint(value), nil
}

// webhookQuestion is what a webhook gets, webhookAnswer what it says.
type webhookQuestion struct {
	Service    string `json:"service"`
	Deployment string `json:"deployment"`
	Candidate  string `json:"candidate"`
	Stable     string `json:"stable"`
}

type webhookAnswer struct {
	Verdict analysis.Verdict `json:"verdict"`
	Message string           `json:"message"`
}

// askWebhook posts a question. Only its word is a verdict: another status than 200, or an
// answer that can't be read, isn't.
func askWebhook(ctx context.Context, url, service string, d *Deployment) (string, error) {
	question, err := json.Marshal(webhookQuestion{service, d.ID, d.Candidate, d.Stable})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s, want 200%s", url, resp.Status, lastLines(string(body), 1))
	}
	var answer webhookAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("the answer of %s can't be read: %w%s", url, err, lastLines(string(body), 1))
	}
	switch answer.Verdict {
	case analysis.Pass:
		return answer.Message, nil
	case analysis.Fail:
		return "", &badError{cmp.Or(answer.Message, "it says that the candidate is bad")}
	case analysis.Inconclusive:
		return "", errors.New(cmp.Or(answer.Message, "it doesn't know"))
	}
	return "", fmt.Errorf("the verdict of %s is %q, want pass, fail or inconclusive", url, answer.Verdict)
}

// askCommand runs a command in the surroundings of the candidate.
func (s *service) askCommand(ctx context.Context, candidate string, command []string) (string, error) {
	instances, err := s.instances(ctx, candidate)
	if err != nil {
		return "", err
	}
	output, err := s.exec(ctx, candidate, command, addressesOf(instances))
	if err != nil {
		return "", verdictOf(err)
	}
	return strings.TrimPrefix(lastLines(output, 1), ": "), nil
}

// verdictOf makes an error a *badError if it is that of a command which has ended with a
// code that says so.
func verdictOf(err error) error {
	var exit *driver.ExitError
	if errors.As(err, &exit) && exit.Code != exitUnknown {
		return &badError{err.Error()}
	}
	return err
}

// answer is what a source has said.
type answer struct {
	source int
	found  string
	err    error
	// counted is what compared counters have grown by, or nil.
	counted *analysis.Stratum
}

// askAll asks a source until the context ends, and sends what it says.
func (src source) askAll(ctx context.Context, number int, to chan<- answer) {
	tick := time.NewTicker(time.Duration(src.Every))
	defer tick.Stop()
	for {
		timeout := time.Duration(src.Timeout)
		asking, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
		a := answer{source: number}
		if src.compare != nil {
			a.counted, a.err = src.compare.ask(asking)
		} else {
			a.found, a.err = src.ask(asking)
		}
		cancel()
		select {
		case to <- a:
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
