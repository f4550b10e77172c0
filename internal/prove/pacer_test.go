package prove

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacerKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(100)
		begin := time.Now()
		for range 101 {
			if !p.wait(t.Context()) {
				t.Fatal("ended")
			}
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("101 requests at 100/s start within %s, want 1s", took)
		}
		time.Sleep(10 * time.Second) // of the bubble's clock
		begin = time.Now()
		p.wait(t.Context())
		p.wait(t.Context())
		if took := time.Since(begin); took != 10*time.Millisecond {
			t.Errorf("after a pause the second waits %s, want 10ms: lost time is not made up for", took)
		}
	})
}

func TestPacerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for _, rate := range []float64{0, 0.001} {
		p := newPacer(rate)
		if !p.wait(ctx) {
			t.Error("ended before its context")
		}
	}
	cancel()
	for _, rate := range []float64{0, 0.001} {
		p := newPacer(rate)
		if p.wait(ctx) || p.wait(ctx) {
			t.Error("went on after its context")
		}
	}
}
