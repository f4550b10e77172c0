package api

import "github.com/segue-deploy/segue/internal/deploy"

// The engine's own values travel as they are; these names are all that a client
// needs to know of it.
type (
	// ServiceStatus is what is going on with a service now.
	ServiceStatus = deploy.ServiceStatus
	// ReleaseStatus is a release that runs.
	ReleaseStatus = deploy.ReleaseStatus
	// Release is an immutable artifact and configuration.
	Release = deploy.Release
	// Deployment is one attempt to make a release the stable one.
	Deployment = deploy.Deployment
	// DeploymentKind is what a deployment is for.
	DeploymentKind = deploy.DeploymentKind
	// Pause is a deployment that begins no further step.
	Pause = deploy.Pause
	// Phase is where a deployment is in its life.
	Phase = deploy.Phase
	// Step is one unit of a plan, StepState what has become of it.
	Step = deploy.Step
	// StepState is a step and what has become of it.
	StepState = deploy.StepState
	// Status is how far a step is.
	Status = deploy.Status
	// Preview is what a deployment would do.
	Preview = deploy.Preview
	// Receipt is the account of what happened to every request.
	Receipt = deploy.Receipt
	// ReleaseReceipt is one release's part of it.
	ReleaseReceipt = deploy.ReleaseReceipt
	// DrainReceipt is how a release's last requests ended.
	DrainReceipt = deploy.DrainReceipt
	// Endings counts how requests ended in a drain, by what they were.
	Endings = deploy.Endings
	// Ending counts requests by how they ended.
	Ending = deploy.Ending
	// Finding is what an analysis has found.
	Finding = deploy.Finding
	// Waits counts requests that were kept waiting.
	Waits = deploy.Waits
	// Latency sums up answers of a span of time.
	Latency = deploy.Latency
	// LogQuery selects output of instances.
	LogQuery = deploy.LogQuery
	// Busy says what to do when a deployment is under way.
	Busy = deploy.Busy
	// Event is something that happened to a service.
	Event = deploy.Event
	// Actor is who gave a command, from where, and why.
	Actor = deploy.Actor
	// Action is something that somebody has done to a service.
	Action = deploy.Action
	// Wait is one thing that a service waits for.
	Wait = deploy.Wait
	// Hold keeps the requests of a service waiting.
	Hold = deploy.Hold
	// Freeze refuses deploys.
	Freeze = deploy.Freeze

	// Requested asks for a deployment.
	Requested = deploy.Requested
	// Began is a deployment's turn.
	Began = deploy.Began
	// Intended comes before a step's effect.
	Intended = deploy.Intended
	// Did says that a step's effect is complete.
	Did = deploy.Did
	// Failed says that a step could not be completed.
	Failed = deploy.Failed
	// Checked is what a try of a check, or a hook, came to.
	Checked = deploy.Checked
	// PauseRequested asks to begin no further step.
	PauseRequested = deploy.PauseRequested
	// Resumed ends a pause.
	Resumed = deploy.Resumed
	// PromoteRequested goes on from an approval or a pause.
	PromoteRequested = deploy.PromoteRequested
	// AbortRequested asks for the way back.
	AbortRequested = deploy.AbortRequested
	// TurnedBack begins the way back.
	TurnedBack = deploy.TurnedBack
	// Finished ends a deployment.
	Finished = deploy.Finished
	// Noted is progress within a step.
	Noted = deploy.Noted
)

// The constants of those types.
const (
	KindDeploy   = deploy.KindDeploy
	KindRollback = deploy.KindRollback
	KindRestart  = deploy.KindRestart
	KindScale    = deploy.KindScale

	PhaseQueued     = deploy.PhaseQueued
	PhaseRunning    = deploy.PhaseRunning
	PhaseTakingBack = deploy.PhaseTakingBack
	PhasePromoted   = deploy.PhasePromoted
	PhaseFailed     = deploy.PhaseFailed
	PhaseAborted    = deploy.PhaseAborted

	StepApprove = deploy.StepApprove
	StepHold    = deploy.StepHold
	StepPreview = deploy.StepPreview
	StepShift   = deploy.StepShift

	StepPending = deploy.StepPending
	StepRunning = deploy.StepRunning
	StepDone    = deploy.StepDone
	StepFailed  = deploy.StepFailed
	StepSkipped = deploy.StepSkipped

	BusyRefuse    = deploy.BusyRefuse
	BusyQueue     = deploy.BusyQueue
	BusySupersede = deploy.BusySupersede
)
