package spec

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{
		"30s": 30 * time.Second, "1m30s": 90 * time.Second, "0s": 0, "500ms": 500 * time.Millisecond,
		"1.5h": 90 * time.Minute,
	}
	for text, want := range good {
		if got, err := ParseDuration(text); err != nil || got.Std() != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
	bad := map[string]string{
		"10": "no unit", "0": "no unit", "-5": "no unit", "1.5": "no unit",
		"-5s": "negative", "": "must be a duration", "soon": "must be a duration", "5 s": "must be a duration",
		"1d": "must be a duration", "9999999999h": "must be a duration", "inf": "must be a duration",
	}
	for text, want := range bad {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestDurationIsWrittenShort(t *testing.T) {
	for _, text := range []string{"10m", "1h", "30s", "0s", "1h0m1s", "1h30m", "1m30s", "250ms", "20s"} {
		d, err := ParseDuration(text)
		if err != nil || d.String() != text {
			t.Errorf("%q: got %q, %v", text, d, err)
		}
	}
}

func TestUnitsGoThroughJSONAndYAMLAsText(t *testing.T) {
	type units struct {
		D Duration `json:"d" yaml:"d"`
		S Size     `json:"s" yaml:"s"`
		P Percent  `json:"p" yaml:"p"`
	}
	in := units{Duration(90 * time.Second), 64 << 20, 0.5}
	asJSON, err := json.Marshal(in)
	if want := `{"d":"1m30s","s":"64MiB","p":"0.5%"}`; err != nil || string(asJSON) != want {
		t.Fatalf("got %s, %v; want %s", asJSON, err, want)
	}
	asYAML, err := yaml.Marshal(in)
	if want := "d: 1m30s\ns: 64MiB\np: 0.5%\n"; err != nil || string(asYAML) != want {
		t.Fatalf("got %s, %v; want %s", asYAML, err, want)
	}
	var fromJSON, fromYAML units
	if err := json.Unmarshal(asJSON, &fromJSON); err != nil || fromJSON != in {
		t.Errorf("from JSON: %+v, %v", fromJSON, err)
	}
	if err := yaml.Unmarshal(asYAML, &fromYAML); err != nil || fromYAML != in {
		t.Errorf("from YAML: %+v, %v", fromYAML, err)
	}
	if err := json.Unmarshal([]byte(`{"d": 5}`), &fromJSON); err == nil {
		t.Error("a duration without a unit was read from JSON")
	}
}

func TestDurationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Min(0).Draw(t, "ns"))
		got, err := ParseDuration(d.String())
		if err != nil || got != d {
			t.Fatalf("%d: %q: got %d, %v", d, d, got, err)
		}
	})
}
