// Package journal is Segue's durable record: an append-only list of events in
// SQLite. What stands in it has happened or was meant to happen; everything else
// that the daemon knows is computed from it.
//
// [Journal.Append] is the only way in: all of a call's records in one
// transaction, on the disk when it returns. [Journal.Read] is the way out, and
// [Journal.Wait] says when reading is worth it again. There is no way to change
// or to remove a record; triggers in the database refuse that to everybody else
// too.
//
// What a crash leaves is a prefix of what was appended that ends between two
// calls of Append and holds all that was acknowledged: SQLite's write-ahead log
// is synced at each commit, and its checksums discard a torn end. What SQLite
// doesn't find, a bit that turned in a page of the database, the checksum in
// each record finds when it is read, and the check in [Open] before that if it
// hit the structure.
//
// One process at a time has a journal open (the daemon holds the lock of its
// state directory). Inside it one connection writes and others read beside it;
// writers queue for the one, and no reader waits for a writer.
package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Record is one event. The journal gives it its ID and doesn't look inside Data.
type Record struct {
	// ID grows by at least 1 from record to record and is never used again.
	ID int64 `json:"id"`
	// At is when it happened, to the nanosecond. The journal gives it back in
	// UTC and without a monotonic reading.
	At time.Time `json:"at"`
	// Service names the service that the record is about.
	Service string `json:"service"`
	// Deployment is the deployment's number, 0 for none.
	Deployment int `json:"deployment,omitempty"`
	// Kind says what Data holds.
	Kind string `json:"kind"`
	// Data is JSON, kept byte for byte; nil for none.
	Data json.RawMessage `json:"data,omitempty"`
}

// Journal is an open journal. Its methods can be called by any number of
// goroutines.
type Journal struct {
	path string
	// writer has one connection and holds it for as long as the journal is
	// open; to have that connection is to be the one that writes.
	writer *sql.DB
	// reader has connections that refuse to write.
	reader *sql.DB

	// tail is replaced by whoever has the writer's connection.
	tail atomic.Pointer[tail]

	// inUse is held for reading by every call that touches the database, and
	// for writing by Close.
	inUse  sync.RWMutex
	closed chan struct{}
}

// tail is the end of the journal at one moment.
type tail struct {
	last int64
	// grown is closed when a record has come behind last.
	grown chan struct{}
}

// maxReaders bounds the connections that read at the same time; whoever comes
// when all are busy waits for one.
const maxReaders = 4

// Open opens the journal in the file at path and creates it if there is none;
// its directory must exist. It checks the whole file, at some 100 MB/s.
//
// It fails with [ErrForeign] when the file is something else than a journal,
// [ErrNewer] when a newer Segue wrote it, [ErrDamaged] when the check finds
// damage, and [ErrFull] when there is no room for the little that it writes.
func Open(ctx context.Context, path string) (*Journal, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	j := &Journal{path: absolute, closed: make(chan struct{})}
	if err := j.open(ctx); err != nil {
		return nil, j.explain(ctx, "open", err)
	}
	return j, nil
}

func (j *Journal) open(ctx context.Context) (err error) {
	if err := prepareFile(j.path); err != nil {
		return err
	}
	if j.writer, err = connect(j.path, writing, 1); err != nil {
		return err
	}
	if j.reader, err = connect(j.path, reading, maxReaders); err != nil {
		j.writer.Close()
		return err
	}
	last, err := openSchema(ctx, j.writer)
	if err == nil {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil {
		j.reader.Close()
		j.writer.Close()
		return err
	}
	j.tail.Store(&tail{last: last, grown: make(chan struct{})})
	return nil
}

// Close ends every Wait with [ErrClosed], waits for calls that are under way,
// and closes the file. A second Close does nothing.
func (j *Journal) Close() error {
	j.inUse.Lock()
	defer j.inUse.Unlock()
	if j.isClosed() {
		return nil
	}
	close(j.closed)
	readErr := j.reader.Close()
	// The last connection that closes folds the write-ahead log into the
	// database, so it must be the one that may write.
	if err := j.writer.Close(); err != nil {
		return fmt.Errorf("close journal %s: %w", j.path, err)
	}
	if readErr != nil {
		return fmt.Errorf("close journal %s: %w", j.path, readErr)
	}
	return nil
}

func (j *Journal) isClosed() bool {
	select {
	case <-j.closed:
		return true
	default:
		return false
	}
}

// use keeps Close away until done is called.
func (j *Journal) use() (done func(), err error) {
	j.inUse.RLock()
	if j.isClosed() {
		j.inUse.RUnlock()
		return nil, ErrClosed
	}
	return j.inUse.RUnlock, nil
}

// Last returns the ID of the newest record, 0 when there is none.
func (j *Journal) Last(ctx context.Context) (int64, error) {
	done, err := j.use()
	if err != nil {
		return 0, j.explain(ctx, "read", err)
	}
	defer done()
	last, err := lastID(ctx, j.reader)
	if err != nil {
		return 0, j.explain(ctx, "read", err)
	}
	return last, nil
}

// Wait returns nil as soon as the journal holds a record with an ID greater than
// after, at once if it does already. Otherwise it ends with ctx's error, or with
// [ErrClosed].
func (j *Journal) Wait(ctx context.Context, after int64) error {
	for {
		t := j.tail.Load()
		if t.last > after {
			return nil
		}
		select {
		case <-t.grown:
		case <-j.closed:
			return fmt.Errorf("wait for journal %s: %w", j.path, ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("wait for journal %s: %w", j.path, ctx.Err())
		}
	}
}
