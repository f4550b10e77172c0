//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFD is the descriptor by which an instance holds its lock. It is high, since
// shell scripts like to use the low ones for themselves.
const lockFD = 99

// identity is how the processes of one start of an instance are recognised.
type identity struct {
	// pid and ticks are those of the leader; 0 when they aren't known.
	pid   int
	ticks uint64
	// marker is the value of SEGUE_START, lock the path of the lock file;
	// either may be empty.
	marker, lock string
	// child: the leader is a child of ours that hasn't been reaped, so its pid
	// can't belong to anything else.
	child bool
	// thorough looks for the lock at every descriptor, not only at lockFD.
	thorough bool
}

// owns reports whether a process belongs to the instance. Evidence is: it is the
// leader; it is in the leader's group while the leader's number is still its own;
// it has the marker in its environment; it has the lock open. Programs can destroy
// the last two (by writing a title over their environment, by closing all
// descriptors), hardly both.
func (id identity) owns(s stat) bool {
	switch {
	case s.zombie || s.pid == os.Getpid():
		return false
	case id.pid != 0 && s.pid == id.pid && s.ticks == id.ticks:
		return true
	case id.pid != 0 && s.group == id.pid && id.pinned():
		return true
	}
	return id.marked(s)
}

// pinned reports whether the leader still has its number, if only as a zombie, so
// that a group of that number, seen before, is its group.
func (id identity) pinned() bool {
	if id.child {
		return true
	}
	s, err := readStat(id.pid)
	return err == nil && s.ticks == id.ticks
}

// marked reports whether a process has the marker or the lock.
func (id identity) marked(s stat) bool {
	if id.lock != "" && (id.holds(s, strconv.Itoa(lockFD)) || id.thorough && id.holdsAnywhere(s)) {
		return true
	}
	if id.marker == "" {
		return false
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", s.pid))
	return err == nil && bytes.Contains(environ, []byte(markerName+"="+id.marker+"\x00"))
}

// holds reports whether a process has the lock at a descriptor. A child that is
// being forked for something else has all our descriptors until its exec, which
// closes them; it doesn't count.
func (id identity) holds(s stat, fd string) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", s.pid, fd))
	return err == nil && target == id.lock && (s.parent != os.Getpid() || !closesOnExec(s.pid, fd))
}

func (id identity) holdsAnywhere(s stat) bool {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	return err == nil && slices.ContainsFunc(fds, func(fd os.DirEntry) bool { return id.holds(s, fd.Name()) })
}

// closesOnExec reads /proc/PID/fdinfo/FD, see proc_pid_fdinfo(5).
func closesOnExec(pid int, fd string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if octal, found := strings.CutPrefix(line, "flags:"); found {
			flags, err := strconv.ParseInt(strings.TrimSpace(octal), 8, 64)
			return err == nil && flags&unix.O_CLOEXEC != 0
		}
	}
	return false
}

// living returns the instance's processes that live.
func (id identity) living() ([]stat, error) {
	all, err := pids()
	if err != nil {
		return nil, err
	}
	var list []stat
	for _, pid := range all {
		if s, err := readStat(pid); err == nil && id.owns(s) {
			list = append(list, s)
		}
	}
	return list, nil
}

// signal sends sig to each of the instance's processes and returns how many it
// has found.
func (id identity) signal(sig unix.Signal) (found int, err error) {
	if id.child {
		// To the group at once: nobody in it can fork out of the way.
		_ = unix.Kill(-id.pid, sig)
	}
	list, err := id.living()
	if err != nil {
		return 0, err
	}
	for _, s := range list {
		if id.child && s.group == id.pid {
			continue
		}
		if e := id.signalOne(s.pid, sig); e != nil {
			err = errors.Join(err, e)
		}
	}
	return len(list), err
}

// signalOne sends sig to a process that is recognised once more after its pidfd
// was opened, so that it can't reach one that has got the number since.
func (id identity) signalOne(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return ignoreEnded(pid, sig, err)
	}
	defer func() { _ = unix.Close(fd) }()
	s, err := readStat(pid)
	if err != nil || !id.owns(s) {
		return nil
	}
	return ignoreEnded(pid, sig, unix.PidfdSendSignal(fd, sig, nil, 0))
}

func ignoreEnded(pid int, sig unix.Signal, err error) error {
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err)
}
