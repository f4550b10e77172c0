package health_test

import (
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/health"
	"pgregory.net/rapid"
)

func TestGateOpensAndCloses(t *testing.T) {
	for _, c := range []struct {
		name               string
		healthy, unhealthy int
		answers, want      string // + good or open, - bad or closed
	}{
		{"one answer each", 1, 1, "+-+", "+-+"},
		{"begins closed", 2, 2, "-", "-"},
		{"two to open", 2, 1, "+-++", "---+"},
		{"three to close", 1, 3, "+--+---", "++++++-"},
		{"numbers below one", 0, -1, "+-", "+-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := health.NewGate(c.healthy, c.unhealthy)
			var got strings.Builder
			was := false
			for _, a := range c.answers {
				open, changed := g.Observe(a == '+')
				if changed != (open != was) {
					t.Errorf("after %q: changed is %v, open went from %v to %v", got.String(), changed, was, open)
				}
				if open != g.Open() {
					t.Errorf("Observe says open %v, Open says %v", open, g.Open())
				}
				was = open
				got.WriteByte("-+"[btoi(open)])
			}
			if got.String() != c.want {
				t.Errorf("answers %s: gate %s, want %s", c.answers, got.String(), c.want)
			}
		})
	}
}

// TestGateAgainstDefinition compares the gate with its definition: it changes
// exactly when the last n answers, all since the last change, were alike.
func TestGateAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		healthy, unhealthy := rapid.IntRange(1, 4).Draw(t, "healthy"), rapid.IntRange(1, 4).Draw(t, "unhealthy")
		g := health.NewGate(healthy, unhealthy)
		open, since := false, 0
		var all []bool
		for _, ok := range rapid.SliceOfN(rapid.Bool(), 0, 40).Draw(t, "answers") {
			all = append(all, ok)
			n := healthy
			if open {
				n = unhealthy
			}
			if last := all[since:]; len(last) >= n && uniform(last[len(last)-n:], !open) {
				open, since = !open, len(all)
			}
			if got, _ := g.Observe(ok); got != open {
				t.Fatalf("after %v: open %v, want %v", all, got, open)
			}
		}
	})
}

func uniform(answers []bool, want bool) bool {
	for _, a := range answers {
		if a != want {
			return false
		}
	}
	return true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
