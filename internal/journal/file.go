package journal

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// mode is what connections to the database are for.
type mode int

const (
	writing mode = iota
	reading
)

// busyTimeout is how long a connection waits for the lock of somebody who
// looks into the journal with another program, in milliseconds.
const busyTimeout = "10000"

// connect returns a pool of at most n connections to the file at path and keeps
// them open.
func connect(path string, m mode, n int) (*sql.DB, error) {
	options := url.Values{
		"_busy_timeout": {busyTimeout},
		// FULL syncs the log at every commit; WAL's own default wouldn't.
		"_synchronous": {"FULL"},
		"_defensive":   {"1"},
		"_dqs":         {"0"},
		"_error_rc":    {"1"},
	}
	if m == writing {
		options.Set("_txlock", "immediate")
	} else {
		options.Set("_query_only", "1")
	}
	// A URI, because SQLite takes any "?" in a plain path for the start of
	// options.
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// minDatabase is the size of the smallest SQLite database, one page of the
// smallest size, in bytes.
const minDatabase = 512

// prepareFile makes sure that there is a regular file at path that only its
// owner can read; SQLite gives its mode to the files beside it. It doesn't open
// a file that exists: to close it again would drop SQLite's locks on it.
func prepareFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createFile(path)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%w: it is a directory; name a file in it", ErrForeign)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is no regular file (%v)", ErrForeign, info.Mode().Type())
	case info.Size() > 0 && info.Size() < minDatabase:
		// SQLite would take it for empty and write over it.
		return fmt.Errorf("%w: it has %d bytes; name another file, or move this one away", ErrForeign, info.Size())
	case info.Mode().Perm()&0o077 != 0:
		return os.Chmod(path, 0o600)
	}
	return nil
}

func createFile(path string) error {
	dir := filepath.Dir(path)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s doesn't exist: create it first", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the directory %s must be writable", err, dir)
	case err != nil:
		return err
	}
	return f.Close()
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
