package spec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCandidateInstances(t *testing.T) {
	tests := []struct {
		c                       CandidateInstances
		weight, instances, want int
	}{
		{"auto", 1, 10, 1}, {"auto", 5, 1, 1}, {"auto", 10, 10, 1}, {"auto", 11, 10, 2}, {"auto", 50, 3, 2}, {"auto", 99, 3, 3}, {"auto", 100, 3, 3},
		{"auto", 0, 3, 1}, {"full", 1, 7, 7}, {"full", 100, 7, 7}, {"2", 5, 7, 2}, {"2", 99, 7, 2}, {"2", 100, 7, 7}, {"20", 5, 7, 7},
	}
	for _, c := range tests {
		if got := c.c.Of(c.weight, c.instances); got != c.want {
			t.Errorf("%s of %d at %d %%: got %d, want %d", c.c, c.instances, c.weight, got, c.want)
		}
	}
}

func TestCandidateHasEnoughInstancesForItsWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instances, weight := rapid.IntRange(1, MaxInstances).Draw(t, "instances"), rapid.IntRange(0, 100).Draw(t, "weight")
		got := InstancesAuto.Of(weight, instances)
		if got < 1 || got > instances || got*100 < weight*instances || got > 1 && (got-1)*100 >= weight*instances {
			t.Fatalf("%d of %d at %d %%", got, instances, weight)
		}
		if more := InstancesAuto.Of(min(weight+1, 100), instances); more < got {
			t.Fatalf("%d of %d at %d %%, and %d at one more", got, instances, weight, more)
		}
	})
}

func TestAmount(t *testing.T) {
	tests := []struct {
		a                   Amount
		instances, up, down int
	}{
		{"0", 5, 0, 0}, {"2", 5, 2, 2}, {"7", 5, 7, 7}, {"25%", 4, 1, 1}, {"25%", 5, 2, 1}, {"25%", 1, 1, 0}, {"0%", 9, 0, 0},
		{"100%", 9, 9, 9}, {"1%", 1000, 10, 10}, {"10%", 1000, 100, 100}, {"99%", 3, 3, 2},
	}
	for _, c := range tests {
		if up, down := c.a.Of(c.instances, true), c.a.Of(c.instances, false); up != c.up || down != c.down {
			t.Errorf("%s of %d: got %d and %d, want %d and %d", c.a, c.instances, up, down, c.up, c.down)
		}
	}
}

func TestAmountsAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"2": "2", "007": "7", "25%": "25%", "5 %": "5%", "0": "0", "0%": "0%", "100%": "100%", "1000": "1000",
		"": "!must be a number of instances", "-1": "!must be a number of instances", "+1": "!must be a number of instances", "1.5": "!must be", "%": "!must be", "2%%": "!must be", "two": "!must be",
		"101%": "!from 0% to 100%", "1001": "!from 0 to 1000", "99999999999999999999": "!must be",
	} {
		var a Amount
		expectText(t, text, want, a.UnmarshalText([]byte(text)), func() string { return string(a) })
	}
	for text, want := range map[string]string{
		"auto": "auto", "full": "full", "1": "1", "010": "10", "1000": "1000",
		"0": "!from 1 to 1000", "1001": "!from 1 to 1000", "-1": "!must be auto, full or a number", "some": "!must be auto", "": "!must be auto", "50%": "!must be auto", "AUTO": "!must be auto",
	} {
		var c CandidateInstances
		expectText(t, text, want, c.UnmarshalText([]byte(text)), func() string { return string(c) })
	}
}

// expectText compares what was read of text with want, or, where that starts with
// an exclamation mark, the error.
func expectText(t *testing.T, text, want string, err error, got func() string) {
	t.Helper()
	message, fails := strings.CutPrefix(want, "!")
	switch {
	case fails && (err == nil || !strings.Contains(err.Error(), message)):
		t.Errorf("%q: got %v, want %q", text, err, message)
	case !fails && (err != nil || got() != want):
		t.Errorf("%q: got %q, %v, want %q", text, got(), err, want)
	}
}

func TestAmountsTravelAsTexts(t *testing.T) {
	s := mustParse(t, minimal+"instances: 4\nstrategy: {rolling: {max_surge: 2, max_unavailable: 25%}}\n")
	data, err := json.Marshal(s.Strategy)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"max_surge":"2","max_unavailable":"25%"`; !strings.Contains(string(data), want) {
		t.Errorf("got %s, want %s in it", data, want)
	}
	for _, number := range []string{"3", `"3"`} {
		s := mustParse(t, minimal+fmt.Sprintf("strategy: {canary: {instances: %s}}\n", number))
		if s.Strategy.Canary.Instances != "3" {
			t.Errorf("%s has become %q", number, s.Strategy.Canary.Instances)
		}
	}
}
