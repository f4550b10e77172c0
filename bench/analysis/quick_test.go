//go:build !race

package main

import "testing"

// TestFigures does every part with few runs, and always the same ones. What it holds is loose:
// of 20 runs one is 5 %, and a median of 20 may be half as high again. The race detector would make
// it ten times as long, and there is nothing for it to find.
func TestFigures(t *testing.T) {
	b := &bench{quick: true, scale: 0.01}
	for _, p := range parts() {
		p.do(b)
	}
	if b.worstAlarm > 0.1 {
		t.Errorf("a cell has %v of false alarms, want at most 0.1 of 20 runs", b.worstAlarm)
	}
	if b.worstMedian > 1.5 {
		t.Errorf("a median is %v times its reference, want at most 1.5", b.worstMedian)
	}
}
