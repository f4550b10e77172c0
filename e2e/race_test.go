//go:build race

package e2e

// raceFlags build segue with the race detector, as these tests are.
func raceFlags() []string { return []string{"-race"} }
