package journal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What can be wrong with a journal, for [errors.Is].
var (
	// ErrFull: there is no room on the disk.
	ErrFull = errors.New("the disk is full")
	// ErrDamaged: the file isn't what was written.
	ErrDamaged = errors.New("the journal is damaged")
	// ErrForeign: the file is no journal.
	ErrForeign = errors.New("this is no journal of Segue")
	// ErrNewer: the file was written by a newer Segue.
	ErrNewer = errors.New("the journal was written by a newer Segue")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the journal is closed")
)

// explain says what failed on which file, which of the errors above it is, and
// what to do about it.
func (j *Journal) explain(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil && interrupted(err) {
		return fmt.Errorf("%s journal %s: %w", op, j.path, ctx.Err())
	}
	remedy, kind := diagnose(err, filepath.Dir(j.path))
	switch {
	case kind != nil && !errors.Is(err, kind):
		return fmt.Errorf("%s journal %s: %w: %s (%w)", op, j.path, kind, remedy, err)
	case remedy != "":
		return fmt.Errorf("%s journal %s: %w; %s", op, j.path, err, remedy)
	}
	return fmt.Errorf("%s journal %s: %w", op, j.path, err)
}

func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		code(err) == sqlite3.SQLITE_INTERRUPT
}

// diagnose returns what to do about err, empty if it says so itself or nothing
// is known, and which of the package's errors it amounts to, nil if none.
func diagnose(err error, dir string) (remedy string, kind error) {
	const restore = "stop Segue, keep a copy of the file and of the two beside it (-wal, -shm) for inspection, and put a backup in its place, or nothing to start with an empty journal"
	switch {
	case outOfSpace(err, dir):
		return "make room in " + dir + " and try again", ErrFull
	case errors.Is(err, ErrDamaged):
		return restore, ErrDamaged
	}
	switch code(err) {
	case sqlite3.SQLITE_CORRUPT:
		return restore, ErrDamaged
	case sqlite3.SQLITE_NOTADB:
		return "name another file, or move this one away", ErrForeign
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return "the file and the directory " + dir + " must be writable for the user that Segue runs as", nil
	case sqlite3.SQLITE_BUSY:
		return "another program holds a lock on it: end that program and try again", nil
	}
	return "", nil
}

// outOfSpace finds a full disk behind the several forms that it takes: SQLite's
// own code, the operating system's, and an I/O error of SQLite for the file
// with which its connections share memory.
func outOfSpace(err error, dir string) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || code(err) == sqlite3.SQLITE_FULL {
		return true
	}
	var stat syscall.Statfs_t
	return code(err) == sqlite3.SQLITE_IOERR && syscall.Statfs(dir, &stat) == nil && stat.Bavail == 0
}

// code returns SQLite's primary result code, 0 if err is none of SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}
