package cli

import (
	"strings"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		0:                            {"0s", "0.0s"},
		-time.Second:                 {"-1s", "0.0s"},
		1234 * time.Nanosecond:       {"0s", "0.0s"},
		1234567 * time.Nanosecond:    {"1.23ms", "0.0s"},
		12345678 * time.Nanosecond:   {"12ms", "0.0s"},
		1999 * time.Millisecond:      {"1.999s", "1.9s"},
		12345 * time.Millisecond:     {"12.3s", "12.3s"},
		59999 * time.Millisecond:     {"1m0s", "59.9s"},
		time.Minute:                  {"1m", "1m"},
		90*time.Second + time.Second: {"1m31s", "1m31s"},
		time.Hour:                    {"1h", "1h"},
		90 * time.Minute:             {"1h30m", "1h30m"},
	} {
		if got := rough(d); got != want[0] {
			t.Errorf("rough %d is %s, want %s", d, got, want[0])
		}
		if got := roughly(d); got != want[1] {
			t.Errorf("roughly %d is %s, want %s", d, got, want[1])
		}
	}
}

func TestAgo(t *testing.T) {
	now := start()
	for before, want := range map[time.Duration]string{
		0: "0s ago", -time.Second: "0s ago", 42 * time.Second: "42s ago", 5 * time.Minute: "5m ago",
		90 * time.Minute: "1h30m ago", 47 * time.Hour: "47h ago",
		100 * time.Hour: now.Add(-100 * time.Hour).Local().Format("2006-01-02 15:04"),
	} {
		if got := ago(now, now.Add(-before)); got != want {
			t.Errorf("%s before is %s, want %s", before, got, want)
		}
	}
	if got := ago(now, time.Time{}); got != "-" {
		t.Errorf("never is %s", got)
	}
}

func TestClock(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	if got := clock(noon, noon.Add(time.Minute)); got != "12:01:00" {
		t.Error(got)
	}
	if got := clock(noon, noon.Add(24*time.Hour)); got != "2026-03-02 12:00:00" {
		t.Error(got)
	}
}

// TestPlain: what a service prints can't move the cursor or ring the bell.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"a\x1b[2J\x1b[31mb\x1b[0m": "ab", "a\tb": "a    b", "a\r": "a", "a\rb": "a�b", "\a\x00": "��", "grün ✓": "grün ✓",
		"\xff": "�", "\x1b]0;title\x07x": "x", "a\nb\n": "a|b", "": "",
	} {
		if got := strings.Join(plain(text), "|"); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := oneLine(" a\n\n  b\tc "); got != "a b c" {
		t.Errorf("%q", got)
	}
}
