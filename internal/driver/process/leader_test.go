//go:build linux

package process

import (
	"testing"
	"time"
)

func TestRoundAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 120 * time.Millisecond: "0.1s", 9949 * time.Millisecond: "9.9s", 12345 * time.Millisecond: "12s", 3 * time.Hour: "3h0m0s",
	} {
		if got := roundAge(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
