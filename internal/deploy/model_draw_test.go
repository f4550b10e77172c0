package deploy

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// modelCase is the life of a service, drawn as a whole before any of it happens: so
// rapid can take away what a failure does not need.
type modelCase struct {
	// specs are what releases are made with; all of them take requests, or none.
	specs []string
	ops   []modelOp
}

// modelOp is one thing that happens. Which fields matter depends on what it is.
type modelOp struct {
	what string
	// spec is the index of the new release's spec, script the name of how its
	// instances behave.
	spec   int
	script string
	busy   Busy
	// deployment is which one a command names: 0 for the one under way, -1 for the
	// last, or its number.
	deployment int
	// instances is what a scale asks for, instance which one dies or flaps, 0 for all.
	instances, instance int
	// stable: it is one of stable's instances, not one of the candidate's.
	stable bool
	// full is promote's.
	full bool
	// limit bounds what has a bound: a pause, a hold, a freeze, a flap.
	limit time.Duration
	// abort: the pause ends in one.
	abort bool
	// events is after how many events from here the engine crashes; 0 is at once.
	events int
	// then is the time that passes before the next one.
	then time.Duration
}

func (c modelCase) String() string {
	var b strings.Builder
	for i, s := range c.specs {
		fmt.Fprintf(&b, "spec %d: %s\n", i, strings.ReplaceAll(s, "\n", "; "))
	}
	for i, op := range c.ops {
		fmt.Fprintf(&b, "%2d %s\n", i, op)
	}
	return b.String()
}

func (op modelOp) String() string {
	text := op.what
	switch op.what {
	case "deploy", "restart":
		text += fmt.Sprintf(" spec %d, which %s, %s", op.spec, op.script, op.busy)
	case "rollback":
		text += " " + string(op.busy)
	case "scale":
		text += fmt.Sprintf(" to %d, %s", op.instances, op.busy)
	case "abort", "resume":
		text += fmt.Sprintf(" d%d", op.deployment)
	case "promote":
		text += fmt.Sprintf(" d%d, full %t", op.deployment, op.full)
	case "pause":
		text += fmt.Sprintf(" d%d for %s, abort %t", op.deployment, op.limit, op.abort)
	case "hold", "freeze":
		text += fmt.Sprintf(" for %s", op.limit)
	case "kill", "flap":
		text += fmt.Sprintf(" instance %d, stable %t, for %s", op.instance, op.stable, op.limit)
	case "crash", "reboot":
		text += fmt.Sprintf(" after %d events", op.events)
	}
	return fmt.Sprintf("%s; then %s", text, op.then)
}

// drawCase draws a life of a service, whose releases have strategies of these kinds.
func drawCase(t *rapid.T, strategies []string) modelCase {
	var c modelCase
	worker := strings.HasPrefix(strategies[0], "worker")
	for range rapid.IntRange(1, 2).Draw(t, "specs") {
		strategy := rapid.SampledFrom(strategies).Draw(t, "strategy")
		c.specs = append(c.specs, drawSpec(t, strategy, worker))
	}
	c.ops = rapid.SliceOfN(rapid.Custom(drawOp), 1, 16).Draw(t, "ops")
	for i := range c.ops {
		c.ops[i].spec %= len(c.specs)
	}
	return c
}

func drawSpec(t *rapid.T, strategy string, worker bool) string {
	instances := rapid.IntRange(1, 4).Draw(t, "instances")
	lines := []string{
		"service: web", "command: [serve]", "drain: 1s", "stop_grace: 5s", "health: {start_deadline: 20s}",
		fmt.Sprintf("instances: %d", instances),
		fmt.Sprintf("keep: %d", rapid.IntRange(1, 3).Draw(t, "keep")),
		"strategy: {" + drawStrategy(t, strategy, instances) + "}",
	}
	if worker {
		lines = append(lines, "listen: none")
	} else if !strings.HasPrefix(strategy, "exclusive") {
		lines = append(lines, rapid.SampledFrom([]string{"warm: 0s", "warm: 4s", "warm: 10m"}).Draw(t, "warm"))
	}
	if rapid.Bool().Draw(t, "smoke") {
		lines = append(lines, "smoke: [{command: [check], retries: 1}]")
	}
	if rapid.Bool().Draw(t, "hooks") {
		lines = append(lines, "hooks: {before_start: [{command: [hook]}], after_shift: [{command: [hook], on_failure: continue}], after_promote: [{command: [hook]}], on_abort: [{command: [hook]}]}")
	}
	if sticky := rapid.SampledFrom([]string{"", "cookie: seen", "header: X-User"}).Draw(t, "sticky"); sticky != "" && !worker {
		lines = append(lines, "route: {sticky: {"+sticky+"}}")
	}
	return strings.Join(lines, "\n")
}

func drawStrategy(t *rapid.T, strategy string, instances int) string {
	bake := "bake: " + rapid.SampledFrom([]string{"0s", "700ms", "3s"}).Draw(t, "bake")
	match := rapid.SampledFrom([]string{"", "[{header: X-Preview}]", "[{cookie: beta}, {query: beta, value: yes}]"}).Draw(t, "match")
	switch strategy {
	case "blue-green":
		settings := []string{bake}
		if match != "" {
			settings = append(settings, "preview: "+match)
		}
		if rapid.Bool().Draw(t, "approve") {
			settings = append(settings, drawApprove(t))
		}
		return "blue-green: {" + strings.Join(settings, ", ") + "}"
	case "canary":
		return "canary: {" + drawCanary(t, match) + "}"
	case "rolling":
		missing := "0"
		if instances > 1 {
			missing = rapid.SampledFrom([]string{"0", "1", "50%"}).Draw(t, "missing")
		}
		surges := []string{"1", "2", "25%", "100%"}
		if missing != "0" {
			surges = append(surges, "0")
		}
		surge := rapid.SampledFrom(surges).Draw(t, "surge")
		settings := fmt.Sprintf("max_surge: %s, max_unavailable: %s, %s", surge, missing, bake)
		if match != "" {
			settings += ", match: " + match
		}
		return "rolling: {" + settings + "}"
	case "exclusive":
		return "exclusive: {ready: 10s, " + bake + "}"
	case "worker exclusive":
		return "worker: {order: exclusive, " + bake + "}"
	}
	return "worker: {" + bake + "}"
}

func drawCanary(t *rapid.T, match string) string {
	var steps []string
	for _, weight := range []int{5, 30, 50, 80, 100} {
		if !rapid.Bool().Draw(t, "weight") {
			continue
		}
		steps = append(steps, fmt.Sprintf("{weight: %d}", weight))
		switch rapid.SampledFrom([]string{"", "bake", "approve", "verify"}).Draw(t, "step") {
		case "bake":
			steps = append(steps, "{bake: 1200ms}")
		case "approve":
			steps = append(steps, "{"+drawApprove(t)+"}")
		case "verify":
			steps = append(steps, "{verify: {checks: [{command: [check]}]}}")
		}
	}
	if len(steps) == 0 {
		steps = []string{"{weight: 25}", "{bake: 1200ms}"}
	}
	settings := []string{
		"steps: [" + strings.Join(steps, ", ") + "]",
		"instances: " + rapid.SampledFrom([]string{"auto", "full", "1", "2"}).Draw(t, "candidates"),
	}
	if match != "" {
		settings = append(settings, "match: "+match)
	}
	if rapid.Bool().Draw(t, "mirror") {
		settings = append(settings, "mirror: {share: 20%}")
	}
	return strings.Join(settings, ", ")
}

func drawApprove(t *rapid.T) string {
	return fmt.Sprintf("approve: {deadline: %s, then: %s}", rapid.SampledFrom([]string{"3s", "30s"}).Draw(t, "deadline"), rapid.SampledFrom([]string{"promote", "abort"}).Draw(t, "then"))
}

// modelScripts are how instances may behave, the harmless first. See script.
func modelScripts() []string {
	return []string{
		"is good", "is good", "is ready late", "stops late", "dies under traffic", "falls ill soon", "falls ill late", "dies at once", "can't start", "is never ready", "fails its checks", "fails its hooks", "fails now and then",
	}
}

func drawOp(t *rapid.T) modelOp {
	op := modelOp{what: rapid.SampledFrom([]string{
		"deploy", "deploy", "deploy", "wait", "abort", "pause", "resume", "promote", "promote", "rollback", "rollback", "restart", "scale",
		"kill", "flap", "crash", "crash", "reboot", "hold", "release", "freeze", "unfreeze",
	}).Draw(t, "what")}
	limit := func(of ...time.Duration) time.Duration { return rapid.SampledFrom(of).Draw(t, "limit") }
	busy := func() Busy { return rapid.SampledFrom([]Busy{BusyRefuse, BusyQueue, BusySupersede}).Draw(t, "busy") }
	which := func() int { return rapid.SampledFrom([]int{0, 0, -1, 1}).Draw(t, "deployment") }
	switch op.what {
	case "deploy", "restart":
		op.spec, op.script, op.busy = rapid.IntRange(0, 1).Draw(t, "spec"), rapid.SampledFrom(modelScripts()).Draw(t, "script"), busy()
	case "rollback":
		op.busy = busy()
	case "scale":
		op.instances, op.busy = rapid.IntRange(1, 5).Draw(t, "instances"), busy()
	case "abort", "resume":
		op.deployment = which()
	case "promote":
		op.deployment, op.full = which(), rapid.Bool().Draw(t, "full")
	case "pause":
		op.deployment, op.limit, op.abort = which(), limit(2*time.Second, time.Minute), rapid.Bool().Draw(t, "abort")
	case "hold":
		op.limit = limit(2*time.Second, 20*time.Second)
	case "freeze":
		op.limit = limit(2*time.Second, time.Minute)
	case "kill", "flap":
		op.instance, op.stable = rapid.SampledFrom([]int{0, 0, 1, 2, 3, 4}).Draw(t, "instance"), rapid.Bool().Draw(t, "stable")
		op.limit = limit(150*time.Millisecond, 2*time.Second, 30*time.Second, 3*time.Minute)
	case "crash", "reboot":
		op.events = rapid.IntRange(0, 12).Draw(t, "events")
	}
	op.then = rapid.SampledFrom([]time.Duration{
		0, 110 * time.Millisecond, 730 * time.Millisecond, 1130 * time.Millisecond, 3170 * time.Millisecond, 11 * time.Second, time.Minute,
	}).Draw(t, "then")
	return op
}
