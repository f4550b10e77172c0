//go:build linux

package process

import (
	"strings"
	"testing"
	"time"
)

func TestCrashVerdict(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		everReady bool
		ages      []time.Duration // of the process at each exit
		waits     string
	}{
		{"cold", false, []time.Duration{0, 0, 0}, "200ms 400ms given up after 3 exits and never ready"},
		{"hot", true, []time.Duration{0, 0, 0, 0, 0}, "200ms 400ms 800ms 1.6s given up after 5 exits within 2m0s"},
		{"slow", true, []time.Duration{40 * time.Second, 40 * time.Second, 40 * time.Second, 40 * time.Second, 40 * time.Second, 40 * time.Second},
			"200ms 400ms 800ms 1.6s 3.2s 6.4s"},
		{"settled", true, []time.Duration{0, 0, time.Minute, 0}, "200ms 400ms 200ms 400ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, now := record{EverReady: c.everReady}, at
			var got []string
			for _, age := range c.ages {
				now = now.Add(age)
				wait, why := r.exited(now, age)
				if why != "" {
					got = append(got, "given up after "+why)
				} else {
					got = append(got, wait.String())
				}
				now = now.Add(wait)
			}
			if strings.Join(got, " ") != c.waits {
				t.Errorf("got %s, want %s", strings.Join(got, " "), c.waits)
			}
		})
	}
	r := record{EverReady: true}
	var longest time.Duration
	for i := range 100 {
		wait, _ := r.exited(at.Add(time.Duration(i)*time.Hour), 0)
		longest = max(longest, wait)
	}
	if longest != lastBackoff {
		t.Errorf("the longest wait is %v, want %v", longest, lastBackoff)
	}
}
