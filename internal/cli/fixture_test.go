package cli

import (
	"encoding/json"
	"time"

	"github.com/segue-deploy/segue/internal/api"
)

// script is a deployment of web's r2 beside r1, told event by event.
type script struct {
	service string
	d       api.Deployment
	events  []api.Event
	now     time.Time
}

// start is when scripts begin: noon somewhere.
func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newScript(stable string) *script {
	s := &script{service: "web", now: start()}
	s.after(0, api.Requested{Candidate: "r2", Kind: api.KindDeploy, Actor: api.Actor{By: "ann", Reason: "hotfix"}})
	s.after(0, api.Began{Stable: stable, Plan: []api.Step{
		{Kind: "start", Release: "r2", Instances: 2, Deadline: 60e9},
		{Kind: "shift", Weights: map[string]int{"r2": 100}},
		{Kind: "bake", Release: "r2", For: 10e9},
	}})
	return s
}

// after lets time pass and something happen.
func (s *script) after(d time.Duration, body any) *script {
	s.now = s.now.Add(d)
	ev := api.Event{ID: int64(len(s.events) + 1), At: s.now, Service: s.service, Deployment: 2}
	switch b := body.(type) {
	case api.Requested:
		ev.Body = b
	case api.Began:
		ev.Body = b
	case api.Intended:
		ev.Body = b
	case api.Did:
		ev.Body = b
	case api.Failed:
		ev.Body = b
	case api.AbortRequested:
		ev.Body = b
	case api.PauseRequested:
		ev.Body = b
	case api.Resumed:
		ev.Body = b
	case api.PromoteRequested:
		ev.Body = b
	case api.Checked:
		ev.Body = b
	case api.TurnedBack:
		ev.Body = b
	case api.Finished:
		ev.Body = b
	case api.Noted:
		ev.Body = b
	default:
		panic("no event of the API")
	}
	s.events = append(s.events, ev)
	s.d = s.d.Apply(ev)
	return s
}

func did(step int, message string) api.Did {
	b := api.Did{Step: step}
	b.Outcome.Message = message
	return b
}

func good() *script {
	return newScript("r1").
		after(0, api.Intended{Step: 0}).
		after(time.Second, api.Noted{Message: "web-r2-1 is ready (1 of 2)"}).
		after(204*time.Millisecond, did(0, "2 instances ready")).
		after(0, api.Intended{Step: 1}).
		after(8*time.Millisecond, did(1, "in force after 7.5ms")).
		after(0, api.Intended{Step: 2}).
		after(10*time.Second, did(2, "")).
		after(0, api.Finished{Phase: api.PhasePromoted})
}

func failed() *script {
	const reason = "web-r2-1: exited with code 3 after 1.5s"
	return newScript("r1").
		after(0, api.Intended{Step: 0}).
		after(1500*time.Millisecond, api.Failed{Step: 0, Reason: reason, LogTail: []string{"\x1b[31mpanic\x1b[0m:\tno database", "goodbye\r"}}).
		after(0, api.TurnedBack{Reason: reason, Plan: []api.Step{{Kind: "retire", Release: "r2"}}}).
		after(0, api.Intended{Step: 3}).
		after(20*time.Millisecond, did(3, "")).
		after(0, api.Finished{Phase: api.PhaseFailed})
}

func aborted() *script {
	return newScript("r1").
		after(0, api.Intended{Step: 0}).
		after(3*time.Second, api.AbortRequested{Actor: api.Actor{By: "bob", Reason: "wrong branch"}}).
		after(0, api.TurnedBack{Reason: "aborted by bob: wrong branch", Plan: []api.Step{{Kind: "retire", Release: "r2"}}}).
		after(0, api.Intended{Step: 3}).
		after(20*time.Millisecond, did(3, "")).
		after(0, api.Finished{Phase: api.PhaseAborted})
}

// asking is a deployment that holds requests and waits for somebody's word.
func asking() *script {
	s := &script{service: "web", now: start()}
	return s.after(0, api.Requested{Candidate: "r2", Kind: api.KindDeploy}).
		after(0, api.Began{Stable: "r1", Plan: []api.Step{
			fromText(`{"kind": "hold", "hold": {"time": "2m"}}`),
			fromText(`{"kind": "approve", "release": "r2", "deadline": "10m", "then": "abort"}`),
			fromText(`{"kind": "shift", "weights": {"r2": 100}}`),
		}}).
		after(0, api.Intended{Step: 0}).
		after(10*time.Millisecond, did(0, "")).
		after(0, api.Intended{Step: 1})
}

func fromText(text string) api.Step {
	var st api.Step
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		panic(err)
	}
	return st
}

// until is the deployment after the first n events.
func (s *script) until(n int) api.Deployment {
	var d api.Deployment
	for _, ev := range s.events[:n] {
		d = d.Apply(ev)
	}
	return d
}
