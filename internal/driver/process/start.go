//go:build linux

package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockPatience is how long a start waits for the lock, leaderPatience how
	// long a process that has the lock may take to show that it is the leader.
	lockPatience   = 10 * time.Second
	leaderPatience = 5 * time.Second
)

// start starts a process and returns when its record is on disk. When it returns
// an error, nothing of it lives.
func (in *instance) start() error {
	if err := in.reserve(); err != nil {
		return err
	}
	s, path, args, err := in.command(in.rec.Release.Command)
	if err != nil {
		return err
	}
	if err := makeRunDir(in.rec.RunDir, s.account, &in.rec.Release); err != nil {
		return err
	}
	out, err := in.openLog(s.account)
	if err != nil {
		return err
	}
	defer out.Close()
	group := ""
	if in.limited() {
		if group, err = in.d.cgroups().make(in.id, in.rec.Release.Limits); err != nil {
			return err
		}
	}
	lock, err := in.takeLock()
	if err != nil {
		return err
	}
	defer lock.Close()

	if in.rec.Release.Health.Notify {
		if in.notices, err = listenNotify(in.rec.RunDir, s.account); err != nil {
			return err
		}
	}
	before := in.rec
	if err := in.intend(); err != nil {
		in.closeNotices()
		in.rec = before
		return err
	}
	pid, err := s.startProcess(spawn{path: path, args: args, env: s.environ(in.rec.Marker), out: out, lock: lock, cgroup: group})
	if err == nil {
		in.d.cfg.fault("started")
		err = in.started(pid)
	}
	if err != nil {
		in.closeNotices()
		in.rec = before
		in.save()
	}
	return err
}

// reserve sees to it that the instance has a run directory and an address that it
// can listen on. A port stays the same unless another program has taken it.
func (in *instance) reserve() (err error) {
	if in.rec.RunDir == "" {
		if in.rec.RunDir, err = in.d.runDir(in.id, &in.rec.Release); err != nil {
			return err
		}
	}
	if in.rec.Release.NoAddress || in.rec.Release.Socket || in.rec.Port != 0 && free(in.rec.Port) {
		return nil
	}
	old := in.rec.Port
	port, err := in.d.ports.take()
	if err != nil {
		return err
	}
	in.rec.Port = port
	if old != 0 {
		in.log().Warn("another program has taken the port of an instance that was down; it gets a new one", "port", old, "new", port)
		in.d.ports.giveBack(old)
	}
	return nil
}

// command works out how to run a command of the release for this instance.
func (in *instance) command(command []string) (s surroundings, path string, args []string, err error) {
	r := &in.rec.Release
	if s, err = newSurroundings(r, instanceVars(r, in.rec.RunDir, in.rec.Port, in.index)); err != nil {
		return s, "", nil, err
	}
	if args, err = r.Arguments(command, s.vars); err != nil {
		return s, "", nil, err
	}
	path, err = s.program(args[0])
	return s, path, args, err
}

// takeLock takes the instance's lock. Nothing of the instance should live at this
// time; what has been left over by a record that was lost is ended.
func (in *instance) takeLock() (*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	path := in.d.lockPath(in.id)
	var lock *os.File
	began := time.Now()
	err := poll(ctx, 100*time.Millisecond, func() (done bool, err error) {
		lock, err = tryLock(path)
		if !errors.Is(err, errLocked) {
			return true, err
		}
		// A process that is just being forked holds every open descriptor for
		// a moment; only what stays is a leftover.
		if time.Since(began) > lockPatience/10 {
			_, err = identity{lock: path, thorough: true}.signal(unix.SIGKILL)
			return false, err
		}
		return false, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w, and can't be ended; see fuser %s", errLocked, path)
	}
	return lock, err
}

// intend writes down that a process is about to be started.
func (in *instance) intend() error {
	now := time.Now()
	r := &in.rec
	in.clearProcess()
	r.Marker, r.Boot, r.Started = rand.Text(), in.d.boot, now
	if r.FirstStarted.IsZero() {
		r.FirstStarted = now
	}
	if r.Down {
		r.Down = false
		r.Restarts++
	}
	if err := r.save(in.d.recordPath(in.id)); err != nil {
		return err
	}
	in.d.cfg.fault("intended")
	return nil
}

// started takes charge of the process that was just started and writes down which
// it is. If it can't, it ends the process.
func (in *instance) started(pid int) error {
	s, err := readStat(pid)
	if err == nil {
		in.rec.Pid, in.rec.Ticks = pid, s.ticks
		in.leader, err = watchLeader(in.identity())
	}
	if err == nil {
		err = in.rec.save(in.d.recordPath(in.id))
	}
	if err != nil {
		in.detach()
		_ = unix.Kill(-pid, unix.SIGKILL)
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &status, 0, nil)
		return err
	}
	in.d.cfg.fault("recorded")
	in.gate, in.hadLeader = newGate(&in.rec), false
	if in.notices != nil {
		in.notices.follow(in.leader.identity, said(&in.rec))
	}
	return nil
}

// settle finds out what has become of a start whose outcome isn't on record,
// because the driver was killed in the middle of it, or because the leader ended
// while no driver ran. It leaves either a leader or nothing that lives.
func (in *instance) settle(ctx context.Context) {
	began := time.Now()
	id := identity{marker: in.rec.Marker, lock: in.d.lockPath(in.id)}
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
		list, err := id.living()
		if err != nil {
			return false, err
		}
		for _, s := range list {
			if s.leads() && !in.hadLeader {
				in.rec.Pid, in.rec.Ticks = s.pid, s.ticks
				in.save()
				return true, nil
			}
		}
		if len(list) == 0 && in.unlocked(&id) {
			in.rec.Marker = ""
			in.save()
			return true, nil
		}
		// Children without a leader, or a child that doesn't lead yet.
		if in.hadLeader || in.asked() || time.Since(began) > leaderPatience {
			_, err = id.signal(unix.SIGKILL)
		}
		return false, err
	})
	if err != nil && ctx.Err() == nil {
		in.log().Warn("what is left of an instance can't be ended; trying again", "error", err)
		in.nap(time.Second)
	}
	in.publish()
}

// unlocked reports whether nobody holds the instance's lock. When somebody does,
// though no process could be recognised, id looks more closely from now on.
func (in *instance) unlocked(id *identity) bool {
	lock, err := tryLock(in.d.lockPath(in.id))
	if err != nil {
		id.thorough = true
		return false
	}
	lock.Close()
	return true
}
