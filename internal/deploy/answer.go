package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/theory/jsonpath"

	"github.com/segue-deploy/segue/internal/spec"
)

// checkAnswer holds an answer against all that a check expects of it.
func checkAnswer(test *spec.CheckHTTP, resp *http.Response, body []byte, took time.Duration) error {
	switch {
	case test.Status == 0 && resp.StatusCode/100 != 2:
		return fmt.Errorf("%d, want 2xx", resp.StatusCode)
	case test.Status != 0 && resp.StatusCode != test.Status:
		return fmt.Errorf("%d, want %d", resp.StatusCode, test.Status)
	case test.Latency > 0 && took > time.Duration(test.Latency):
		return fmt.Errorf("it took %s, at most %s is allowed", rough(took), time.Duration(test.Latency))
	case !bytes.Contains(body, []byte(test.Contains)):
		return fmt.Errorf("the answer does not contain %q", test.Contains)
	}
	for _, name := range slices.Sorted(maps.Keys(test.Answer)) {
		if got := resp.Header.Values(name); !slices.Contains(got, test.Answer[name]) {
			return fmt.Errorf("the answer's header %s is %q, want %q", name, got, test.Answer[name])
		}
	}
	if test.Matches != "" {
		expression, err := regexp.Compile(test.Matches)
		if err != nil {
			return err
		}
		if !expression.Match(body) {
			return fmt.Errorf("the answer does not match %q", test.Matches)
		}
	}
	return checkJSON(test.JSON, body)
}

// checkJSON holds values in a body against what is expected, by JSONPath (RFC 9535).
// Of several values that a path selects, all must be as expected.
func checkJSON(want map[string]string, body []byte) error {
	if len(want) == 0 {
		return nil
	}
	var document any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		parsed, err := jsonpath.Parse(path)
		if err != nil {
			return err
		}
		selected := parsed.Select(document)
		if len(selected) == 0 {
			return fmt.Errorf("the answer has nothing at %s, want %q", path, want[path])
		}
		for _, v := range selected {
			if got, err := scalar(v); err != nil || got != want[path] {
				return errors.Join(fmt.Errorf("the answer has %s at %s, want %q", got, path, want[path]), err)
			}
		}
	}
	return nil
}

// scalar is a JSON value as people write it: a string without its quotes.
func scalar(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}
