//go:build linux

package process

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// end stops it for good and removes all but its log. It returns false when ctx
// ended before that.
func (in *instance) end(ctx context.Context) bool {
	if in.rec.Phase != stopping && !in.isNew {
		in.rec.Phase = stopping
		in.save()
		in.d.cfg.fault("stop recorded")
	}
	in.publish()
	if in.leader != nil && !in.terminate(ctx) {
		return false
	}
	in.forget(ctx)
	return true
}

// forget removes all that there is of it but its log.
func (in *instance) forget(ctx context.Context) {
	if in.rec.RunDir != "" {
		if err := os.RemoveAll(in.rec.RunDir); err != nil {
			in.log().Warn("a run directory can't be removed", "error", err)
		}
		_ = os.Remove(notifyTemp(in.rec.RunDir)) // of a start that was cut short
	}
	if in.limited() {
		if err := in.d.cgroups().remove(ctx, in.id); err != nil {
			in.log().Warn("an instance's control group is left over", "error", err)
		}
	}
	in.d.cfg.fault("run directory removed")
	if err := removeDurably(in.d.recordPath(in.id)); err != nil {
		in.log().Warn("an instance's record can't be removed", "error", err)
	}
	in.d.cfg.fault("record removed")
	if err := removeDurably(in.d.lockPath(in.id)); err != nil {
		in.log().Warn("an instance's lock can't be removed", "error", err)
	}
	if in.rec.Port != 0 {
		in.d.ports.giveBack(in.rec.Port)
	}
	in.d.drop(in)
	close(in.gone)
}

// terminate ends the process and all that belongs to it: by its stop signal, and
// after the grace by SIGKILL. What the leader leaves behind has the rest of the
// grace. It returns false when ctx ended before that.
func (in *instance) terminate(ctx context.Context) bool {
	if err := in.requestStop(); err != nil {
		in.complain(err)
	}
	in.d.cfg.fault("signalled")
	grace, cancel := context.WithTimeout(ctx, max(in.rec.Release.StopGrace, 0))
	defer cancel()
	select {
	case <-in.leader.done:
		in.requestStopOfRest()
		_ = poll(grace, 100*time.Millisecond, func() (bool, error) {
			list, err := in.leader.living()
			return len(list) == 0, err
		})
	case <-grace.Done():
	}
	if !in.killAll(ctx) {
		return false
	}
	in.leader.reap(0)
	in.detach()
	in.d.cfg.fault("ended")
	in.clearProcess()
	in.rec.Marker = ""
	in.save()
	in.publish()
	return true
}

// requestStop sends the stop signal. SIGTERM goes to all processes of the instance:
// each program understands it, and some shells don't pass it on. Any other means
// what the leader makes of it, and would end at once a child that knows nothing of
// it, such as the job that is to be finished; so it goes to the leader alone.
func (in *instance) requestStop() error {
	sig := in.stopSignal()
	if sig != unix.SIGTERM {
		return in.leader.signalOne(in.leader.pid, sig)
	}
	_, err := in.leader.signal(sig)
	return err
}

// requestStopOfRest asks what has outlived its leader, if nobody has yet.
func (in *instance) requestStopOfRest() {
	if in.stopSignal() == unix.SIGTERM {
		return
	}
	if _, err := in.leader.signal(unix.SIGTERM); err != nil {
		in.complain(err)
	}
}

// stopSignal is the release's. A record with one that isn't known is of another
// version of segue; what it asked for can't be had, and the instance has to end.
func (in *instance) stopSignal() unix.Signal {
	name, err := in.rec.Release.Signal()
	if err != nil {
		in.log().Warn("an instance is stopped by SIGTERM", "error", err)
		return unix.SIGTERM
	}
	return unix.SignalNum("SIG" + name)
}

// killAll ends what lives of the instance by SIGKILL and returns true when
// nothing does. The leader isn't reaped. It returns false when ctx ended before
// that, as it can when a process hangs in the kernel.
func (in *instance) killAll(ctx context.Context) bool {
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
		found, err := in.leader.signal(unix.SIGKILL)
		if err != nil {
			in.complain(err)
			return false, nil
		}
		return found == 0 && in.unlocked(&in.leader.identity), nil
	})
	if err != nil {
		return false
	}
	select {
	case <-in.leader.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// complain shows why it can't be stopped.
func (in *instance) complain(err error) {
	in.complaint = "can't be stopped: " + err.Error()
	in.publish()
}
