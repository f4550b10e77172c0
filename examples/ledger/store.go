package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the database
)

// entry is a row of the ledger.
type entry struct {
	// Row counts from 1 in the order of insertion.
	Row    int64  `json:"row"`
	ID     string `json:"id"`
	Amount int64  `json:"amount"`
	// Release is the one that inserted it.
	Release string `json:"release"`
}

var (
	errExists  = errors.New("there is an entry of that id")
	errMissing = errors.New("there is no entry of that id")
)

// store is the database, and the lock on it.
type store struct {
	db   *sql.DB
	lock *os.File
}

// openStore opens the database in the directory, which it makes if need be; it is
// an error if another process has it.
func openStore(ctx context.Context, dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// SQLite's own lock would do as well; this one is there before SQLite looks at
	// anything, and says who has it.
	held, err := lock(filepath.Join(dir, "ledger.lock"))
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		held.Close()
		return nil, fmt.Errorf("open the database in %s: %w", dir, err)
	}
	return &store{db, held}, nil
}

func openDatabase(ctx context.Context, path string) (*sql.DB, error) {
	options := url.Values{"_pragma": {
		// EXCLUSIVE keeps SQLite's lock from the first access to the end.
		"locking_mode(EXCLUSIVE)",
		"journal_mode(WAL)",
		// FULL syncs the log at every commit; WAL's own default wouldn't.
		"synchronous(FULL)",
	}}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	// A second connection would wait for the first one's lock for ever.
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS entries (
		row     INTEGER PRIMARY KEY,
		id      TEXT NOT NULL UNIQUE,
		amount  INTEGER NOT NULL,
		release TEXT NOT NULL
	)`)
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// Close closes the database, and only then lets another process have it.
func (s *store) Close() error {
	return errors.Join(s.db.Close(), s.lock.Close())
}

// insert returns the new entry's row number when the entry is on the disk, or
// errExists.
func (s *store) insert(ctx context.Context, e entry) (int64, error) {
	// Not RETURNING, which gives its row before the commit has succeeded.
	done, err := s.db.ExecContext(ctx, `INSERT INTO entries (id, amount, release) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		e.ID, e.Amount, e.Release)
	if err != nil {
		return 0, err
	}
	switch n, err := done.RowsAffected(); {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, errExists
	}
	return done.LastInsertId()
}

// find returns the entry of that id, or errMissing.
func (s *store) find(ctx context.Context, id string) (entry, error) {
	var e entry
	err := s.db.QueryRowContext(ctx, `SELECT row, id, amount, release FROM entries WHERE id = ?`, id).
		Scan(&e.Row, &e.ID, &e.Amount, &e.Release)
	if errors.Is(err, sql.ErrNoRows) {
		return entry{}, errMissing
	}
	return e, err
}

// list returns at most n entries of rows after that one, in their order.
func (s *store) list(ctx context.Context, after int64, n int) ([]entry, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT row, id, amount, release FROM entries WHERE row > ? ORDER BY row LIMIT ?`, after, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	entries := []entry{}
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.Row, &e.ID, &e.Amount, &e.Release); err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, rows.Err()
}
