//go:build !race

package e2e

// raceFlags build segue as users get it, as these tests are without the race detector.
func raceFlags() []string { return nil }
