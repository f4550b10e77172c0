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
	in.stopOnDisk()
	in.publish()
	if in.leader != nil && !in.terminate(ctx) {
		return false
	}
	in.forget(ctx)
	return true
}

// stopOnDisk tells Ensure that the next driver would stop it, too.
func (in *instance) stopOnDisk() {
	select {
	case <-in.stopSaved:
	default:
		close(in.stopSaved)
	}
}

// forget removes all that there is of it but its log.
func (in *instance) forget(ctx context.Context) {
	if in.rec.RunDir != "" {
		if err := os.RemoveAll(in.rec.RunDir); err != nil {
			in.log().Warn("a run directory can't be removed", "error", err)
		}
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
	in.stopOnDisk()
	close(in.gone)
}

// terminate ends the process and all that belongs to it: by SIGTERM, and after
// the grace by SIGKILL. What the leader leaves behind has the rest of the grace.
// It returns false when ctx ended before that.
func (in *instance) terminate(ctx context.Context) bool {
	if _, err := in.leader.signal(unix.SIGTERM); err != nil {
		in.complain(err)
	}
	in.d.cfg.fault("signalled")
	grace, cancel := context.WithTimeout(ctx, max(in.rec.Release.StopGrace, 0))
	defer cancel()
	select {
	case <-in.leader.done:
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
