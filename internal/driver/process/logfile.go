//go:build linux

package process

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// trimInterval is the time between two looks at the size of a log.
	trimInterval = time.Second
	// holeUnit is what the beginning of a hole is rounded to, in bytes; a
	// multiple of the block size of most file systems.
	holeUnit = 4096
)

// openLog opens the file that an instance's output goes to. Writes to it are
// appended, whoever makes them, and it belongs to the instance's user, since some
// programs open /dev/stdout anew.
func (in *instance) openLog(who account) (*os.File, error) {
	if err := os.MkdirAll(in.d.logDir(in.service, in.release), 0o700); err != nil {
		return nil, fmt.Errorf("open its log: %w", err)
	}
	path := in.d.logPath(in.service, in.release, in.id)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its log: %w", err)
	}
	if err := who.own(path); err != nil {
		f.Close()
		return nil, fmt.Errorf("give its log to user %s: %w", who.name, err)
	}
	return f, nil
}

// trimLog frees what is too much of the log.
func (in *instance) trimLog() {
	path := in.d.logPath(in.service, in.release, in.id)
	err := punchLog(path, in.rec.Release.LogMaxBytes)
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		in.d.cannotPunch.Do(func() {
			in.log().Warn("the file system of the logs can't free a part of a file, so logs grow without limit; put the state directory on ext4, xfs, btrfs or tmpfs", "error", err)
		})
	default:
		in.log().Warn("a log can't be cut to its size", "error", err)
	}
}

// punchLog frees the beginning of a file that takes up more than limit bytes and a
// bit, so that the last limit bytes stay. The file's size and the offsets in it
// stay as they are, so nobody who writes or reads at the same time is disturbed; a
// reader finds the end of the hole by SEEK_DATA. A limit of 0 or less is none. See
// fallocate(2).
func punchLog(path string, limit int64) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	slack := max(limit/8, 4*holeUnit)
	const block = 512 // the unit of st_blocks, whatever the file system
	if limit <= 0 || st.Blocks*block <= limit+slack {
		return nil
	}
	hole := (st.Size - limit) / holeUnit * holeUnit
	if hole <= 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, hole); err != nil {
		return &os.PathError{Op: "fallocate", Path: path, Err: err}
	}
	return nil
}
