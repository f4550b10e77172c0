package api

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/spec"
)

// asking deploys web with a spec that waits for somebody's word, and returns when it
// does.
func (w *world) asking() Deployment {
	w.t.Helper()
	up, err := w.client.Upload(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	s := service(w.t, "web", "")
	s.Strategy.BlueGreen.Approve = &spec.Approve{Deadline: spec.Duration(time.Hour), Then: spec.ThenAbort}
	d, err := w.client.Deploy(w.t.Context(), DeployRequest{Spec: s, Artifact: up.Digest})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.awaitStep(d.ID, StepApprove)
}

// awaitStep follows a deployment of web until a step of that kind has begun.
func (w *world) awaitStep(id string, kind deploy.StepKind) Deployment {
	w.t.Helper()
	r := &untilStep{kind: kind}
	if err := w.client.Follow(w.t.Context(), "web", id, r); err != nil {
		w.t.Fatal(err)
	}
	return r.now
}

// untilStep is a Follower that has seen enough when a step of a kind begins.
type untilStep struct {
	recorder
	kind deploy.StepKind
}

func (u *untilStep) Event(ev Event) bool {
	more := u.recorder.Event(ev)
	b, is := ev.Body.(Intended)
	return more && (!is || u.now.Steps[b.Step].Kind != u.kind)
}

// TestEveryCommand gives each command of control once, and holds the journal to who
// gave it, from where, and why.
func TestEveryCommand(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.deploy()
	d := w.asking()

	waits, err := w.client.Explain(ctx, "web")
	if err != nil || len(waits) != 1 || waits[0].Deployment != d.ID || waits[0].Command != "segue promote -s web d2" || waits[0].End != "segue abort -s web d2" {
		t.Errorf("explain: %+v, %v", waits, err)
	}
	d, err = w.client.Pause(ctx, "web", "", PauseRequest{For: spec.Duration(time.Hour), Then: spec.ThenPromote, Reason: "to pause"})
	if err != nil || d.Paused == nil || d.Paused.Then != spec.ThenPromote || d.Paused.Reason != "to pause" || time.Until(d.Paused.Until) > time.Hour {
		t.Errorf("pause: %+v, %v", d.Paused, err)
	}
	d, err = w.client.Resume(ctx, "web", "d2", CommandRequest{Reason: "to resume"})
	if err != nil || d.Paused != nil {
		t.Errorf("resume: %+v, %v", d, err)
	}
	d, err = w.client.Promote(ctx, "web", "", PromoteRequest{Full: true, Reason: "to promote"})
	if err != nil || !d.Full {
		t.Errorf("promote: %+v, %v", d, err)
	}
	if d = w.await("d2"); d.Phase != PhasePromoted {
		t.Errorf("promoted: %+v", d)
	}
	d = w.asking()
	d, err = w.client.Abort(ctx, "web", d.ID, CommandRequest{Reason: "to abort"})
	if err != nil || !d.AbortRequested {
		t.Errorf("abort: %+v, %v", d, err)
	}
	w.await(d.ID)

	limits := spec.Hold{Time: spec.Duration(time.Minute), Requests: 10, Bytes: 1000}
	hold, err := w.client.Hold(ctx, "web", HoldRequest{For: spec.Duration(time.Hour), Limits: limits, Reason: "to hold"})
	if err != nil || hold.Limits != limits || hold.Reason != "to hold" || time.Until(hold.Until) > time.Hour {
		t.Errorf("hold: %+v, %v", hold, err)
	}
	end, err := w.client.Release(ctx, "web", CommandRequest{Reason: "to release"})
	if err != nil || end.Hold == nil || !end.Hold.Since.Equal(hold.Since) {
		t.Errorf("release: %+v, %v", end, err)
	}
	if end, err = w.client.Release(ctx, "web", CommandRequest{}); err != nil || end.Hold != nil {
		t.Errorf("release again: %+v, %v", end, err)
	}
	freeze, err := w.client.Freeze(ctx, "web", FreezeRequest{Reason: "to freeze"})
	if err != nil || !freeze.Until.IsZero() || freeze.Reason != "to freeze" {
		t.Errorf("freeze: %+v, %v", freeze, err)
	}
	_, err = w.request("", "")
	if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusConflict || !strings.Contains(p.Detail, "to freeze") {
		t.Errorf("deploy in a freeze: %v", err)
	}
	up, err := w.client.Upload(ctx, "")
	must(err)
	d, err = w.client.Deploy(ctx, DeployRequest{Spec: service(t, "web", ""), Artifact: up.Digest, Override: "an outage", Reason: "to deploy"})
	if err != nil || d.Override != "an outage" {
		t.Errorf("deploy with an override: %+v, %v", d, err)
	}
	w.await(d.ID)
	ended, err := w.client.Unfreeze(ctx, "web", CommandRequest{Reason: "to unfreeze"})
	if err != nil || ended.Freeze == nil || ended.Freeze.Reason != "to freeze" {
		t.Errorf("unfreeze: %+v, %v", ended, err)
	}
	if ended, err = w.client.Unfreeze(ctx, "web", CommandRequest{}); err != nil || ended.Freeze != nil {
		t.Errorf("unfreeze again: %+v, %v", ended, err)
	}
	d, err = w.client.Scale(ctx, "web", ScaleRequest{Instances: 3, Reason: "to scale"})
	must(err)
	if d = w.await(d.ID); d.Kind != KindScale || d.Phase != PhasePromoted || w.machine.Alive("web", "r4") != 3 {
		t.Errorf("scale: %+v", d)
	}
	d, err = w.client.Restart(ctx, "web", RestartRequest{Reason: "to restart"})
	must(err)
	w.awaitStep(d.ID, StepShift)
	_, err = w.client.Promote(ctx, "web", "", PromoteRequest{Full: true, Reason: "without bakes"})
	must(err)
	if d = w.await(d.ID); d.Kind != KindRestart || d.Phase != PhasePromoted || w.machine.Alive("web", "r5") != 3 {
		t.Errorf("restart: %+v", d)
	}
	d, err = w.client.Rollback(ctx, "web", RollbackRequest{Reason: "to roll back"})
	must(err)
	w.await(d.ID)

	actions, err := w.client.Actions(ctx, "web")
	must(err)
	w.expectActions(actions, []string{
		"1 deploy r1: ", "2 deploy r2: ",
		"2 pause until TIME, then promote: to pause", "2 resume: to resume", "2 promote in full: to promote",
		"3 deploy r3: ", "3 abort: to abort",
		"0 hold requests until TIME: to hold", "0 release requests: to release", "0 freeze deploys: to freeze",
		"4 deploy r4 in spite of a freeze: an outage: to deploy", "0 unfreeze deploys: to unfreeze",
		"5 scale r4 to 3 instances: to scale", "6 restart r5: to restart", "6 promote in full: without bakes", "7 rollback r4: to roll back",
	})
}

// expectActions holds what was done to a list of "deployment what: why", and all of it
// to this process.
func (w *world) expectActions(actions []Action, want []string) {
	w.t.Helper()
	me, err := user.Current()
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, a := range actions {
		if a.By != me.Username || a.From != fmt.Sprintf("process %d of this machine", os.Getpid()) || a.At.IsZero() {
			w.t.Errorf("%q at %s by %q from %q", a.What, a.At, a.By, a.From)
		}
		what, until, timed := strings.Cut(a.What, " until ")
		if timed {
			what += " until TIME" + until[len(time.DateTime):]
		}
		got = append(got, fmt.Sprintf("%d %s: %s", a.Deployment, what, a.Reason))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
