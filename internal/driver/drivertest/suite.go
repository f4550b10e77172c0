// Package drivertest holds every driver to the contract of package driver.
//
// [Run] is the contract as a suite of tests; each driver runs it from a test of
// its own by saying in a [Harness] how to make releases that behave well or badly
// on it. [Fake] is a driver of its own: a scripted one in memory, on a [Machine]
// whose instances fail to start, start slowly, die, refuse to die or lie, as told.
// The engine is tested on it, and it passes the same suite.
package drivertest

import (
	"context"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// Harness is a driver under test and the hands on the machine that it runs on.
type Harness struct {
	// Driver runs nothing yet.
	Driver driver.Driver
	// Restart drops the driver, as when the daemon dies, and makes another on
	// the same machine.
	Restart func() driver.Driver
	// Release returns a release that behaves so.
	Release func(service, id string, b Behavior) driver.Release
	// Kill ends an instance's process by force, behind the driver's back.
	Kill func(in driver.Instance)
	// SetReady has an instance say that it is ready, or that it isn't, in the way
	// of its ReadyBy.
	SetReady func(in driver.Instance, ready bool)
	// StopSignals returns the signals by which instances of the release were asked
	// to stop, in the order in which they ended.
	StopSignals func(service, release string) []string
	// Alive counts the instances of the release that live, without asking the
	// driver.
	Alive func(service, release string) int
}

// Behavior is how the instances of a release behave. The zero value gets ready
// at once and lives until it is stopped.
type Behavior struct {
	// CannotStart: Ensure can't even start an instance.
	CannotStart bool
	// NeverReady: lives and is not healthy. StartDeadline is the release's.
	NeverReady    bool
	StartDeadline time.Duration
	// ReadyBy: isn't ready after a start until it says so, by a "file" or by
	// "notify".
	ReadyBy string
	// NoAddress and StopSignal are the release's.
	NoAddress  bool
	StopSignal string
	// NamesPort: the command names {{.Port}}, whether there is one or not.
	NamesPort bool
	// Exits at once after each start, until the driver gives it up.
	Exits bool
	// StopsAfter is how long it takes to stop after it was asked to. StopGrace
	// is the release's.
	StopsAfter, StopGrace time.Duration
	// Prints are lines that it prints at each start.
	Prints []string
}

const (
	// patience is a safety net that no passing test waits for.
	patience = 60 * time.Second
	// forever outlasts every test.
	forever = time.Hour
)

// Run holds the drivers that harness makes, one for each test, to the contract.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		test func(s *suite)
	}{
		{"EnsureStartsInstances", ensureStartsInstances},
		{"EnsureIsIdempotent", ensureIsIdempotent},
		{"EnsureScales", ensureScales},
		{"EnsureScalesDownByForce", ensureScalesDownByForce},
		{"EnsureGivesUpWithContext", ensureGivesUpWithContext},
		{"EnsureUpWhileGoingDown", ensureUpWhileGoingDown},
		{"EnsureAtOnceFromMany", ensureAtOnceFromMany},
		{"EnsureSaysWhatCannotStart", ensureSaysWhatCannotStart},
		{"WorkerHasNoAddress", workerHasNoAddress},
		{"ReadinessIsSaidByFile", readinessIsSaid("file")},
		{"ReadinessIsSaidByNotify", readinessIsSaid("notify")},
		{"SilentWorkerFails", silentWorkerFails},
		{"StopsBySignal", stopsBySignal},
		{"RefusesUnknownSignal", refusesUnknownSignal},
		{"ReleasesAreApart", releasesAreApart},
		{"RemoveStops", removeStops},
		{"RemoveByForce", removeByForce},
		{"RemoveGivesUpWithContext", removeGivesUpWithContext},
		{"RemoveWhileStarting", removeWhileStarting},
		{"RemoveBlocksNoOtherRelease", removeBlocksNoOtherRelease},
		{"EnsureAfterRemove", ensureAfterRemove},
		{"DeadInstanceIsStartedAgain", deadInstanceIsStartedAgain},
		{"CrashLoopFails", crashLoopFails},
		{"NeverReadyFails", neverReadyFails},
		{"RestartAdopts", restartAdopts},
		{"RestartWhileStarting", restartWhileStarting},
		{"RestartWhileStopping", restartWhileStopping},
		{"WatchEnds", watchEnds},
		{"LogsOfAllAndOne", logsOfAllAndOne},
		{"LogsFollow", logsFollow},
		{"LogsOutliveRelease", logsOutliveRelease},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c.test(&suite{T: t, Harness: harness(t), ctx: ctx})
		})
	}
}

type suite struct {
	*testing.T
	Harness
	ctx context.Context
}
