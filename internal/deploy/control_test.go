package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segue-deploy/segue/internal/driver/drivertest"
	"github.com/segue-deploy/segue/internal/spec"
)

var tester = Actor{By: "tester", From: "a test", Reason: "why not"}

// underway has r1 promoted, and d2 on its way with r2.
func underway(t *testing.T, more string, script drivertest.Script, f func(w *world, d Deployment)) {
	t.Helper()
	scenario(t, func(w *world, _ *spec.Spec) {
		sp := parseWeb(t, more)
		w.machine.Script("web", "r2", script)
		d, err := w.request(sp, BusyRefuse)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		f(w, d)
	})
}

func parseWeb(t *testing.T, more string) *spec.Spec {
	t.Helper()
	s, err := spec.Parse("segue.yaml", []byte("service: web\ncommand: [serve]\ninstances: 2\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused expects an error that says each of the texts.
func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("it was not refused; want %q", says)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

const approved = "strategy: {blue-green: {approve: {deadline: 10m}, bake: 5s}}\n"

// TestApprove waits for a word, and for no longer than the deadline.
func TestApprove(t *testing.T) {
	t.Run("given", func(t *testing.T) {
		underway(t, approved, drivertest.Script{}, func(w *world, d Deployment) {
			w.expectWeights(map[string]int{"r1": 100, "r2": 0})
			if _, err := w.engine.Promote(w.t.Context(), "web", 0, false, tester); err != nil {
				t.Error(err)
			}
			// Giving it twice is giving it once, unless the deployment has gone on already.
			if _, err := w.engine.Promote(w.t.Context(), "web", 0, false, tester); err != nil {
				refused(t, err, "waits for nobody's word")
			}
			w.expectPhase(w.await(d.Number), PhasePromoted, "")
		})
	})
	t.Run("not given", func(t *testing.T) {
		underway(t, approved, drivertest.Script{}, func(w *world, d Deployment) {
			w.expectPhase(w.await(d.Number), PhaseAborted, "nobody promoted d2 within 10m0s")
			w.expectWeights(map[string]int{"r1": 100})
		})
	})
	t.Run("not needed at the deadline", func(t *testing.T) {
		underway(t, "strategy: {blue-green: {approve: {deadline: 10m, then: promote}}}\n", drivertest.Script{}, func(w *world, d Deployment) {
			w.expectPhase(w.await(d.Number), PhasePromoted, "")
		})
	})
	t.Run("the candidate dies meanwhile", func(t *testing.T) {
		underway(t, approved, drivertest.Script{ExitAfter: time.Minute, Restarts: -1}, func(w *world, d Deployment) {
			w.expectPhase(w.await(d.Number), PhaseFailed, "r2")
		})
	})
}

// TestPromoteInFull skips all that is only waited for, and nothing else.
func TestPromoteInFull(t *testing.T) {
	const canary = "strategy: {canary: {steps: [{weight: 5}, {bake: 1h}, approve, {weight: 50}, {bake: 1h}]}}\nsmoke: [{command: [check]}]\n"
	underway(t, canary, drivertest.Script{}, func(w *world, d Deployment) {
		w.expectWeights(map[string]int{"r1": 95, "r2": 5})
		_, err := w.engine.Promote(w.t.Context(), "web", 0, false, tester)
		refused(t, err, "d2 of web waits for nobody's word", "bake r2 for 1h0m0s", "--full")
		began := time.Now()
		if _, err := w.engine.Promote(w.t.Context(), "web", d.Number, true, tester); err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		_, err = w.engine.Promote(w.t.Context(), "web", d.Number, true, tester)
		refused(t, err, "d2 of web has ended: promoted, and r2 is stable")
	})
}

// TestPause begins no further step until it is resumed, and watches meanwhile.
func TestPause(t *testing.T) {
	const plain = "strategy: {blue-green: {bake: 5s}}\n"
	slow := drivertest.Script{ReadyAfter: 20 * time.Second}
	t.Run("resumed", func(t *testing.T) {
		underway(t, plain, slow, func(w *world, d Deployment) {
			for range 2 {
				if _, err := w.engine.Pause(w.t.Context(), "web", 0, time.Hour, spec.ThenAbort, tester); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(30 * time.Minute)
			w.expectWeights(map[string]int{"r1": 100, "r2": 0})
			waits, err := w.engine.Explain(w.t.Context(), "web")
			if err != nil || len(waits) == 0 || !strings.Contains(waits[0].What, "paused by tester") || waits[0].Until.Sub(waits[0].Since) != time.Hour ||
				!strings.Contains(waits[0].Command, "segue resume") {
				t.Errorf("%v, %+v", err, waits)
			}
			for range 2 {
				if _, err := w.engine.Resume(w.t.Context(), "web", d.Number, tester); err != nil {
					t.Fatal(err)
				}
			}
			w.expectPhase(w.await(d.Number), PhasePromoted, "")
		})
	})
	for then, want := range map[spec.Then]Phase{spec.ThenAbort: PhaseAborted, spec.ThenPromote: PhasePromoted} {
		t.Run("until it is over, then "+string(then), func(t *testing.T) {
			underway(t, plain, slow, func(w *world, d Deployment) {
				if _, err := w.engine.Pause(w.t.Context(), "web", 0, time.Minute, then, tester); err != nil {
					t.Fatal(err)
				}
				w.expectPhase(w.await(d.Number), want, "")
			})
		})
	}
	t.Run("aborted", func(t *testing.T) {
		underway(t, plain, slow, func(w *world, d Deployment) {
			if _, err := w.engine.Pause(w.t.Context(), "web", 0, time.Hour, spec.ThenAbort, tester); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if _, err := w.engine.Abort(w.t.Context(), "web", 0, tester); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			w.expectPhase(w.await(d.Number), PhaseAborted, "why not")
			if took := time.Since(began); took > time.Minute {
				t.Errorf("the abort waited %s", took)
			}
		})
	})
	t.Run("the candidate dies meanwhile", func(t *testing.T) {
		underway(t, plain, drivertest.Script{ReadyAfter: 2 * time.Second, ExitAfter: time.Minute, Restarts: -1}, func(w *world, d Deployment) {
			if _, err := w.engine.Pause(w.t.Context(), "web", 0, time.Hour, spec.ThenAbort, tester); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			w.expectPhase(w.await(d.Number), PhaseFailed, "r2")
			if took := time.Since(began); took > 10*time.Minute {
				t.Errorf("nobody looked for %s", took)
			}
		})
	})
}

// TestNothingToControl answers every command with a sentence when its time is over,
// or not there yet.
func TestNothingToControl(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		commands := map[string]func(number int) error{
			"abort": func(n int) error { _, err := w.engine.Abort(w.t.Context(), "web", n, tester); return err },
			"pause": func(n int) error {
				_, err := w.engine.Pause(w.t.Context(), "web", n, time.Hour, spec.ThenAbort, tester)
				return err
			},
			"resume":  func(n int) error { _, err := w.engine.Resume(w.t.Context(), "web", n, tester); return err },
			"promote": func(n int) error { _, err := w.engine.Promote(w.t.Context(), "web", n, true, tester); return err },
		}
		for _, do := range commands {
			refused(t, do(0), "no deployment of web is under way", "d1, has ended: promoted, and r1 is stable")
			refused(t, do(1), "d1 of web has ended: promoted, and r1 is stable")
			refused(t, do(7), "web has no deployment d7", "segue history")
		}
		w.machine.Script("web", "r2", drivertest.Script{ReadyAfter: 20 * time.Second})
		if _, err := w.request(sp, BusyRefuse); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		queued, err := w.request(sp, BusyQueue)
		if err != nil {
			t.Fatal(err)
		}
		for name, do := range commands {
			if name != "abort" {
				refused(t, do(queued.Number), "d3 waits for its turn", "segue abort")
			}
		}
		_, err = w.engine.Rollback(w.t.Context(), "web", "", BusyRefuse, tester)
		refused(t, err, "d2 of web (to r2) is under way", "'segue abort' gives all traffic back to r1")
		_, err = w.engine.Restart(w.t.Context(), "web", BusyRefuse, tester)
		refused(t, err, "d2 of web (to r2) is under way", "--queue", "--supersede")
		_, err = w.engine.Restart(w.t.Context(), "web", BusyQueue, tester)
		refused(t, err, "would bring r1 back", "segue wait d2")
		_, err = w.engine.Scale(w.t.Context(), "web", 3, BusyRefuse, tester)
		refused(t, err, "d2 of web (to r2) is under way")
		if err := commands["abort"](queued.Number); err != nil {
			t.Error(err)
		}
		w.expectPhase(w.await(2), PhasePromoted, "")
		w.expectPhase(w.await(3), PhaseAborted, "why not")
	})
}

// TestFreeze refuses deploys, lets who must through, and never a way back.
func TestFreeze(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		if _, err := w.engine.FreezeDeploys(w.t.Context(), "web", time.Now().Add(time.Hour), tester); err != nil {
			t.Fatal(err)
		}
		_, err := w.request(sp, BusyRefuse)
		refused(t, err, "deploys of web are frozen by tester", "why not", "--override", "segue unfreeze")
		d, err := w.engine.Deploy(w.t.Context(), Request{Spec: sp, Artifact: w.upload(), Override: "the shop is down", Actor: tester})
		if err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
		if d, err = w.engine.Rollback(w.t.Context(), "web", "", BusyRefuse, tester); err != nil {
			t.Fatal(err)
		}
		w.expectPhase(w.await(d.Number), PhasePromoted, "")
		time.Sleep(time.Hour)
		w.expectPhase(w.deploy(sp), PhasePromoted, "")

		if _, err := w.engine.FreezeDeploys(w.t.Context(), "web", time.Time{}, tester); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		_, err = w.request(sp, BusyRefuse)
		refused(t, err, "frozen by tester")
		for range 2 {
			if err := w.engine.Unfreeze(w.t.Context(), "web", tester); err != nil {
				t.Fatal(err)
			}
		}
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		actions, err := w.engine.Actions(w.t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		var what []string
		for _, a := range actions {
			what = append(what, a.What)
			if a.By != "tester" {
				t.Errorf("%s was done by %q", a.What, a.By)
			}
		}
		want := []string{"deploy r3 in spite of a freeze: the shop is down", "rollback r2", "unfreeze deploys"}
		if got := slices.DeleteFunc(slices.Clone(what), func(s string) bool { return !slices.Contains(want, s) }); !slices.Equal(got, want) {
			t.Errorf("actions %q, want among them %q", what, want)
		}
	})
}

// TestHoldByHand keeps requests waiting, in no deployment, until it ends by itself
// or by hand.
func TestHoldByHand(t *testing.T) {
	limits := spec.Hold{Time: spec.Duration(time.Minute), Requests: 10, Bytes: 1 << 20}
	scenario(t, func(w *world, _ *spec.Spec) {
		held := func() bool { return w.table().Services[0].Hold != nil }
		h, err := w.engine.HoldRequests(w.t.Context(), "web", time.Hour, limits, tester)
		if err != nil || !held() || h.Until.Sub(h.Since) != time.Hour {
			t.Fatalf("%v, %+v", err, h)
		}
		for range 2 {
			if err := w.engine.ReleaseRequests(w.t.Context(), "web", tester); err != nil || held() {
				t.Fatalf("%v, held: %v", err, held())
			}
		}
		if _, err := w.engine.HoldRequests(w.t.Context(), "web", time.Minute, limits, tester); err != nil || !held() {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if held() || w.state().Hold != nil {
			t.Error("it did not end by itself")
		}
		_, err = w.engine.HoldRequests(w.t.Context(), "web", 0, limits, tester)
		refused(t, err, "without a bound")
	})
}

// TestRestart replaces the instances by new ones of the same bytes, one after the
// other.
func TestRestart(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		w.machine.ResetMost("web")
		d, err := w.engine.Restart(w.t.Context(), "web", BusyRefuse, tester)
		if err != nil {
			t.Fatal(err)
		}
		end := w.await(d.Number)
		w.expectPhase(end, PhasePromoted, "")
		st := w.state()
		r1, r2 := st.Release("r1"), st.Release("r2")
		if end.Kind != KindRestart || st.Stable != "r2" || r1.Artifact != r2.Artifact || r2.Spec.Instances != 2 {
			t.Errorf("%s to %s: %+v", end.Kind, st.Stable, r2)
		}
		if most := w.machine.MostAliveOf("web"); most != 3 {
			t.Errorf("%d instances lived at once, want 3", most)
		}
		w.expectAlive("r1", 0)
		w.expectAlive("r2", 2)
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
	})
}

// TestScale changes the number of stable's instances, until the next deployment.
func TestScale(t *testing.T) {
	scenario(t, func(w *world, sp *spec.Spec) {
		scale := func(n int) Deployment {
			t.Helper()
			d, err := w.engine.Scale(w.t.Context(), "web", n, BusyRefuse, tester)
			if err != nil {
				t.Fatal(err)
			}
			return w.await(d.Number)
		}
		alive := func(n int) {
			t.Helper()
			synctest.Wait()
			if got := w.machine.Alive("web", "r1"); got != n {
				t.Errorf("%d instances live, want %d", got, n)
			}
			w.expectWeights(map[string]int{"r1": 100})
		}
		w.expectPhase(scale(5), PhasePromoted, "")
		alive(5)
		w.expectPhase(scale(5), PhasePromoted, "")
		alive(5)
		w.expectPhase(scale(1), PhasePromoted, "")
		alive(1)
		_, err := w.engine.Scale(w.t.Context(), "web", -1, BusyRefuse, tester)
		refused(t, err, "instances")
		w.machine.Script("web", "r1", drivertest.Script{StartError: errors.New("no room")})
		w.expectPhase(scale(3), PhaseFailed, "no room")
		alive(1)
		w.machine.Script("web", "r1", drivertest.Script{})
		w.expectPhase(w.deploy(sp), PhasePromoted, "")
		w.expectAlive("r2", 2)
	})
}

// TestHooks run at their moments; what a failure means is each one's own.
func TestHooks(t *testing.T) {
	hooks := func(onFailure string) string {
		var b strings.Builder
		b.WriteString("strategy: {canary: {steps: [{weight: 50}, {bake: 1s}]}}\nhooks:\n")
		for _, m := range []HookMoment{HookBeforeStart, HookAfterShift, HookAfterPromote, HookOnAbort} {
			fmt.Fprintf(&b, "  %s: [{command: [%s], on_failure: %s}]\n", m, m, onFailure)
		}
		return b.String()
	}
	for _, test := range []struct {
		name, onFailure, fails string
		ends                   Phase
		ran                    []string
	}{
		{"good", "abort", "", PhasePromoted, []string{"before_start 0", "after_shift 50", "after_shift 100", "after_promote 100"}},
		{"before the start", "abort", "before_start", PhaseFailed, []string{"before_start 0", "on_abort 0"}},
		{"after a shift", "abort", "after_shift", PhaseFailed, []string{"before_start 0", "after_shift 50", "on_abort 0"}},
		{"after a shift, let pass", "continue", "after_shift", PhasePromoted, []string{"before_start 0", "after_shift 50", "after_shift 100", "after_promote 100"}},
		{"too late to matter", "abort", "after_promote", PhasePromoted, []string{"before_start 0", "after_shift 50", "after_shift 100", "after_promote 100"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var mu sync.Mutex
			var ran []string
			run := func(_ context.Context, command []string, env map[string]string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, command[0]+" "+env["SEGUE_WEIGHT"])
				if env["SEGUE_HOOK"] != command[0] || env["SEGUE_DEPLOYMENT"] != "d2" || env["SEGUE_STABLE"] != "r1" {
					t.Errorf("%s was run with %v", command, env)
				}
				if command[0] == test.fails {
					return "it went wrong", errors.New("exit code 1")
				}
				return "", nil
			}
			underway(t, hooks(test.onFailure), drivertest.Script{Exec: run}, func(w *world, d Deployment) {
				end := w.await(d.Number)
				w.expectPhase(end, test.ends, "")
				if test.ends == PhaseFailed && !strings.Contains(end.Reason, "it went wrong") {
					t.Errorf("reason %q", end.Reason)
				}
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(ran, test.ran) {
					t.Errorf("ran %q, want %q", ran, test.ran)
				}
			})
		})
	}
}
