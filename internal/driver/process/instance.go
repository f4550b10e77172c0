//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
	"golang.org/x/sys/unix"
)

// instance is one instance of a release. Everything below the divider belongs to
// the goroutine that runs supervise; before that, to the one that made it.
type instance struct {
	d                    *Driver
	id, service, release string
	index                int

	// stop is closed when somebody has asked it to stop, gone when nothing is left
	// of it.
	stop     chan struct{}
	stopOnce sync.Once
	gone     chan struct{}
	// first gets the outcome of the first start.
	first chan error
	// view is what List shows.
	view atomic.Pointer[driver.Instance]

	// ----

	rec record
	// leader is the process that rec.Pid names, once it is watched.
	leader *leader
	gate   *health.Gate
	// notices is where the leader says how it is, if it is to.
	notices *notices
	// notBefore is when it may be started again.
	notBefore time.Time
	// isNew until the first start.
	isNew bool
	// hadLeader: the leader is known to have ended, though not by us.
	hadLeader bool
	// mayHaveSpoken: an earlier driver has started it, and nobody has listened to it
	// since that one's end.
	mayHaveSpoken bool
	// complaint is what the last bad answer to a probe was, or why it can't be
	// stopped.
	complaint string
}

func newInstance(d *Driver, r driver.Release, index int) *instance {
	in := makeInstance(d, record{Release: r, Index: index, Phase: running})
	in.isNew = true
	in.publish()
	return in
}

// adopted makes an instance of a record that an earlier driver has left.
func adopted(d *Driver, rec record) *instance {
	in := makeInstance(d, rec)
	in.mayHaveSpoken = true
	if rec.Phase == stopping {
		in.askToStop()
	}
	switch {
	case rec.Boot != d.boot:
		// The machine was started anew; nothing of then lives.
		in.clearProcess()
		in.rec.Marker = ""
	case rec.Pid == 0:
	default:
		s, err := readStat(rec.Pid)
		if err == nil && s.ticks == rec.Ticks && !s.zombie {
			break
		}
		in.rec.ReadySince = time.Time{}
		// A zombie is left to supervise, which may learn how it ended.
		if err != nil || s.ticks != rec.Ticks {
			in.hadLeader = true
			in.exited(fmt.Sprintf("ended while segue wasn't running, %s after its start at the latest", roundAge(time.Since(rec.Started))))
		}
	}
	in.publish()
	return in
}

func makeInstance(d *Driver, rec record) *instance {
	return &instance{
		d: d, id: rec.id(), service: rec.Release.Service, release: rec.Release.ID, index: rec.Index,
		stop: make(chan struct{}), gone: make(chan struct{}), first: make(chan error, 1),
		rec: rec,
	}
}

// askToStop may be called by anyone, at any time, again and again.
func (in *instance) askToStop() {
	in.stopOnce.Do(func() { close(in.stop) })
	in.d.changed()
}

func (in *instance) asked() bool {
	select {
	case <-in.stop:
		return true
	default:
		return false
	}
}

// look returns what List shows.
func (in *instance) look() driver.Instance {
	view := *in.view.Load()
	if in.asked() {
		view.State = driver.Stopping
	}
	return view
}

// supervise is the instance's main loop: look at where it stands, do the next
// thing, until it is gone or ctx ends.
func (in *instance) supervise(ctx context.Context) {
	defer in.detach()
	for ctx.Err() == nil {
		switch {
		case in.rec.Pid != 0 && in.leader == nil:
			in.attach()
		case in.rec.Pid == 0 && in.rec.Marker != "":
			in.settle(ctx)
		case in.asked():
			if in.end(ctx) {
				return
			}
		case in.rec.Phase == failed && in.leader != nil:
			in.terminate(ctx)
		case in.rec.Phase == failed:
			in.idle(ctx)
		case in.leader == nil:
			if !in.startNext(ctx) {
				return
			}
		default:
			in.observe(ctx)
		}
	}
}

// attach watches the process that the record names.
func (in *instance) attach() {
	l, err := watchLeader(in.identity())
	switch {
	case err == nil:
		in.leader = l
		in.gate = newGate(&in.rec)
	case errors.Is(err, os.ErrProcessDone), errors.Is(err, unix.ESRCH):
		in.hadLeader = true
		in.exited("ended after " + roundAge(time.Since(in.rec.Started)) + ", how isn't known")
		in.publish()
	default: // out of descriptors, say
		in.log().Warn("an instance that lives can't be watched; trying again", "error", err)
		in.nap(time.Second)
	}
}

// detach lets go of the process, whether it has ended or not.
func (in *instance) detach() {
	in.closeNotices()
	if in.leader != nil {
		in.leader.close()
		in.leader = nil
	}
}

// idle waits until it is asked to stop.
func (in *instance) idle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-in.stop:
	}
}

// nap waits a little, for something that may get better by itself.
func (in *instance) nap(d time.Duration) {
	select {
	case <-in.stop:
	case <-time.After(d):
	}
}

// startNext starts it when its time has come. It returns false when it couldn't
// be started for the first time, and so doesn't exist.
func (in *instance) startNext(ctx context.Context) bool {
	if !in.isNew && !in.backoff(ctx) {
		return true
	}
	err := in.start()
	if in.isNew {
		in.isNew = false
		in.publish()
		if err != nil {
			in.forget(ctx)
		}
		in.first <- err
		return err == nil
	}
	if err != nil {
		// Nothing that the service has done, so it doesn't count against it: a
		// full disk is no reason to give an instance up.
		in.rec.Down = true
		in.rec.Message = "can't be started again: " + err.Error()
		in.notBefore = time.Now().Add(lastBackoff)
	}
	in.publish()
	return true
}

// backoff waits for the time of the next start. It returns false when something
// else is to be done now.
func (in *instance) backoff(ctx context.Context) bool {
	wait := time.NewTimer(time.Until(in.notBefore))
	defer wait.Stop()
	deadline, stop := in.startDeadline()
	defer stop()
	select {
	case <-wait.C:
		return true
	case <-deadline:
		in.giveUp(in.whyNotReady())
	case <-ctx.Done():
	case <-in.stop:
	}
	return false
}

// startDeadline fires when it should have been ready for the first time. One that
// was ready before is waited for without an end, as one that is unready is.
func (in *instance) startDeadline() (fires <-chan time.Time, stop func()) {
	if in.rec.Release.StartDeadline <= 0 || in.rec.EverReady {
		return nil, func() {}
	}
	t := time.NewTimer(time.Until(in.rec.FirstStarted.Add(in.rec.Release.StartDeadline)))
	return t.C, func() { t.Stop() }
}

// observe follows a process that runs: its end, its health, its output.
func (in *instance) observe(ctx context.Context) {
	probing, cancel := context.WithCancel(ctx)
	answers := make(chan error)
	var prober sync.WaitGroup
	known := said(&in.rec)
	prober.Go(func() { in.probe(probing, answers, known) })
	// The prober reads the record, which the end of the process changes.
	quiet := func() { cancel(); prober.Wait() }
	defer quiet()

	late, stop := in.startDeadline()
	defer func() { stop() }()
	trim := time.NewTicker(trimInterval)
	defer trim.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.stop:
			return
		case <-in.leader.done:
			quiet()
			in.bury(ctx)
			return
		case <-late:
			in.giveUp(in.whyNotReady())
			return
		case err := <-answers:
			in.answered(err)
			if in.rec.EverReady {
				late = nil
			}
		case <-trim.C:
			in.trimLog()
		}
	}
}

// bury takes the end of a leader that nobody asked to end, and ends what it has
// left behind.
func (in *instance) bury(ctx context.Context) {
	if !in.killAll(ctx) {
		return
	}
	message := in.leader.reap(time.Since(in.rec.Started))
	if in.limited() && in.d.cgroups().outOfMemory(in.id) {
		message += ", out of the memory that it may use"
	}
	in.detach()
	in.rec.Marker = ""
	in.exited(message)
	in.publish()
}

// exited enters an exit that nobody asked for.
func (in *instance) exited(message string) {
	now := time.Now()
	in.clearProcess()
	in.rec.Down, in.rec.Message = true, message
	wait, giveUp, verdict := in.rec.exited(now.Sub(in.rec.Started))
	in.notBefore = now.Add(wait)
	if giveUp {
		in.rec.Phase = failed
	}
	if verdict != "" {
		in.rec.Message += " (" + verdict + ")"
	}
	in.save()
}

// giveUp fails it for a reason.
func (in *instance) giveUp(message string) {
	in.rec.Phase, in.rec.Message = failed, message
	in.rec.ReadySince = time.Time{}
	in.save()
	in.publish()
}

// clearProcess forgets the process, which has ended.
func (in *instance) clearProcess() {
	in.rec.Pid, in.rec.Ticks = 0, 0
	in.rec.ReadySince, in.rec.WasReady = time.Time{}, false
	in.complaint, in.mayHaveSpoken = "", false
}

// limited: it may have a control group.
func (in *instance) limited() bool { return in.rec.Release.Limits != (driver.Limits{}) }

// identity is how the present process is recognised.
func (in *instance) identity() identity {
	return identity{pid: in.rec.Pid, ticks: in.rec.Ticks, marker: in.rec.Marker, lock: in.d.lockPath(in.id)}
}

// publish shows what has changed to List and Watch.
func (in *instance) publish() {
	view := driver.Instance{
		ID: in.id, Service: in.service, Release: in.release, Index: in.index,
		State: in.state(), Target: in.target(), Pid: in.rec.Pid,
		Started: in.rec.Started, ReadySince: in.rec.ReadySince, Restarts: in.rec.Restarts,
		Message: in.rec.Message,
	}
	if in.complaint != "" && (view.State == driver.Unready || view.Message == "") {
		view.Message = in.complaint
	}
	if old := in.view.Swap(&view); old == nil || *old != view {
		in.d.changed()
	}
}

func (in *instance) state() driver.State {
	switch {
	case in.asked():
		return driver.Stopping
	case in.rec.Phase == failed:
		return driver.Failed
	case in.rec.Down:
		return driver.Backoff
	case !in.rec.ReadySince.IsZero():
		return driver.Ready
	case in.rec.WasReady:
		return driver.Unready
	}
	return driver.Starting
}

func (in *instance) target() health.Target {
	if in.rec.Release.NoAddress {
		return health.Target{}
	}
	if in.rec.Release.Socket && in.rec.RunDir != "" {
		return health.Target{Network: "unix", Address: socketPath(in.rec.RunDir), H2C: in.rec.Release.H2C}
	}
	if in.rec.Port == 0 {
		return health.Target{} // not started yet
	}
	return health.Target{Network: "tcp", Address: net.JoinHostPort(host, strconv.Itoa(in.rec.Port)), H2C: in.rec.Release.H2C}
}

// save writes the record where nothing depends on its being written: the next
// change writes it again.
func (in *instance) save() {
	if err := in.rec.save(in.d.recordPath(in.id)); err != nil {
		in.log().Warn("an instance's record can't be written", "error", err)
	}
}

func (in *instance) log() *slog.Logger { return in.d.cfg.Logger.With("instance", in.id) }
