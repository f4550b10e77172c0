//go:build linux

package process

import (
	"strings"
	"testing"
	"time"
)

func TestCrashVerdict(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		name      string
		everReady bool
		ages      []time.Duration // of the process at each exit
		waits     string
	}{
		{"never ready", false, []time.Duration{0, 0, 0}, "200ms 400ms given up after 3 exits and never ready"},
		{"was ready", true, []time.Duration{0, 0, 0, 0, 0, 0}, "200ms 400ms 800ms 1.6s " +
			"3.2s a crash loop: 5 exits in a row; started again every 3.2s 6.4s a crash loop: 6 exits in a row; started again every 6.4s"},
		{"settled", true, []time.Duration{0, 40 * second, 60 * second, 0}, "200ms 400ms 200ms 400ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := record{EverReady: c.everReady}
			var got []string
			for _, age := range c.ages {
				wait, giveUp, verdict := r.exited(age)
				if !giveUp {
					got = append(got, wait.String())
				}
				if verdict != "" {
					got = append(got, verdict)
				}
			}
			if strings.Join(got, " ") != c.waits {
				t.Errorf("got %s, want %s", strings.Join(got, " "), c.waits)
			}
		})
	}
	r := record{EverReady: true}
	var longest time.Duration
	for range 100 {
		wait, giveUp, _ := r.exited(0)
		if giveUp {
			t.Fatal("one that was ready was given up")
		}
		longest = max(longest, wait)
	}
	if longest != lastBackoff {
		t.Errorf("the longest wait is %v, want %v", longest, lastBackoff)
	}
}
