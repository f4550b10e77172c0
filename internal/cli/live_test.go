package cli

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLiveViewDraws: what was drawn is replaced, also after the window has become
// narrower, and never more than the screen has room for.
func TestLiveViewDraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		width, height := 80, 24
		v := newLiveView(&screen{out: &out, size: func() (int, int) { return width, height }}, "web")
		take := func() string {
			synctest.Wait()
			v.mu.Lock()
			defer v.mu.Unlock()
			defer out.Reset()
			return out.String()
		}
		if got := take(); got != "" {
			t.Errorf("before anything is known: %q", got)
		}
		s := good()
		v.event(s.events[2], s.until(3))
		if got := take(); !strings.HasPrefix(got, "\r") || !strings.HasSuffix(got, "\x1b[K\n\x1b[J") || strings.Count(got, "\n") != 4 {
			t.Errorf("at first %q", got)
		}
		time.Sleep(redrawEvery)
		if got := take(); !strings.HasPrefix(got, "\x1b[4A\r") {
			t.Errorf("a tick later %q", got)
		}
		v.mu.Lock()
		width = 40 // The terminal wraps the second line.
		v.mu.Unlock()
		time.Sleep(redrawEvery)
		got := take()
		if !strings.HasPrefix(got, "\x1b[5A\r") || !strings.Contains(got, "…") {
			t.Errorf("narrower %q", got)
		}
		v.mu.Lock()
		height = 4
		v.mu.Unlock()
		time.Sleep(redrawEvery)
		if got := take(); strings.Count(got, "\n") != 3 {
			t.Errorf("lower %q", got)
		}
		v.lost(time.Now().Add(time.Minute))
		if got := take(); !strings.Contains(got, "does not answer") {
			t.Errorf("lost %q", got)
		}
		v.found()
		if got := take(); strings.Contains(got, "does not answer") {
			t.Errorf("found %q", got)
		}
		v.close()
		if got := take(); strings.Count(got, "\n") != 4 {
			t.Errorf("at the end %q", got)
		}
	})
}

func TestClip(t *testing.T) {
	lines := []string{"1", "2", "3", "4", "5", "6"}
	for height, want := range map[int]string{0: "6", 1: "6", 3: "4 5 6", 4: "1   … 5 6", 5: "1   … 4 5 6", 6: "1 2 3 4 5 6", 7: "1 2 3 4 5 6"} {
		if got := strings.Join(clip(lines, height), " "); got != want {
			t.Errorf("in %d lines %q, want %q", height, got, want)
		}
	}
}
