package spec

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePercent(t *testing.T) {
	good := map[string]Percent{"5%": 5, "5": 5, "0.5%": 0.5, "0": 0, "100%": 100, "5 %": 5, "-0": 0}
	for text, want := range good {
		got, err := ParsePercent(text)
		if err != nil || got != want || strings.HasPrefix(got.String(), "-") {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
	bad := map[string]string{
		"": "must be a percentage", "%": "must be a percentage", "5%%": "must be a percentage", "five": "must be a percentage",
		"NaN": "must be a percentage", "Inf": "must be a percentage", "1e2": "must be a percentage",
		"101%": "from 0% to 100%", "-1": "from 0% to 100%",
	}
	for text, want := range bad {
		if got, err := ParsePercent(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestPercentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Percent(rapid.IntRange(0, 1e6).Draw(t, "ten-thousandths")) / 1e4
		got, err := ParsePercent(p.String())
		if err != nil || got != p {
			t.Fatalf("%v: %q: got %v, %v", float64(p), p, got, err)
		}
	})
}
