// Package deploy is the engine: it decides what a deployment does next, does
// it, and knows after a crash where it was.
//
// # The story
//
// A service's [State] is the fold of its events: [State.apply] is pure and never
// reads a clock. plan turns a state and a spec into [Step] values, and decide
// turns a state into the one thing to do next; both are pure, too. What has an
// effect stands apart from them, one function for each kind of step, in the
// files step_*.go: each is idempotent, so that doing it again after a crash is
// always right.
//
// The main loop is [service.run] in service.go. There is one goroutine for each
// service: it asks decide, journals the intent, does the effect, journals the
// outcome, and asks again. Commands ([Engine.Deploy], [Engine.Abort],
// [Engine.Rollback]) only journal what is wanted and wake that goroutine.
//
// After a crash [Engine.Run] replays the journal, puts the table in force again,
// makes the driver run what should run, and lets the same loops go on: an intent
// without an outcome is simply done again. A journal that can't be written (a
// full disk) is treated the same way: the loop stops where it is, traffic stays
// as it is, and it tries again until the journal takes the event.
//
// # Adding a strategy
//
// A strategy is a function from a state and a spec to steps, as in bluegreen.go.
// It has no loop of its own.
package deploy
