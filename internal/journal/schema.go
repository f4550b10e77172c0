package journal

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
)

// Format is that of the journals that this program writes. It reads those with a lower
// number, too.
const Format = schemaVersion

// schemaVersion is in the file's user_version and counts up with every change
// of schema.sql. applicationID marks the file as a journal: "Segu".
const (
	schemaVersion = 1
	applicationID = 0x53656775
)

//go:embed schema.sql
var schema string

// openSchema makes sure that db is a sound journal that this program can go on
// with, creates what an empty file lacks, and returns the last ID.
func openSchema(ctx context.Context, db *sql.DB) (last int64, err error) {
	isNew, err := identify(ctx, db)
	if err != nil {
		return 0, err
	}
	// Not before identify: it changes the file, which may be somebody else's.
	if err := useWAL(ctx, db); err != nil {
		return 0, err
	}
	if isNew {
		return 0, create(ctx, db)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	// A write that changes nothing and is never committed: a file that can't be
	// written to is better found now than at the first Append.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, schemaVersion)); err != nil {
		return 0, err
	}
	if err := check(ctx, tx); err != nil {
		return 0, err
	}
	return lastID(ctx, tx)
}

// identify tells a journal from an empty file, of which Open died or which is
// new, and from everything else, which is an error.
func identify(ctx context.Context, db *sql.DB) (isNew bool, err error) {
	var app, version, objects int64
	err = db.QueryRowContext(ctx, `SELECT
		(SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version, &objects)
	switch {
	case err != nil:
		return false, err
	case app == 0 && version == 0 && objects == 0:
		return true, nil
	case app != applicationID:
		return false, fmt.Errorf("%w: it is an SQLite database of something else; name another file, or move this one away", ErrForeign)
	case version > schemaVersion:
		return false, fmt.Errorf("%w: it has schema version %d, this Segue knows versions up to %d; start the newer Segue again, or use a copy from before the upgrade", ErrNewer, version, schemaVersion)
	case version != schemaVersion:
		return false, fmt.Errorf("%w: it has schema version %d, which there never was", ErrDamaged, version)
	}
	return false, nil
}

func useWAL(ctx context.Context, db *sql.DB) error {
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("SQLite's write-ahead log can't be used here (its journal mode stays %q): put the file on a local file system", mode)
	}
	return nil
}

func create(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	marks := fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, applicationID, schemaVersion)
	for _, text := range []string{schema, marks} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// check reads the whole file. The daemon reads all of it at its start anyway,
// and to find damage then is better than to act on half of the truth.
func check(ctx context.Context, tx *sql.Tx) error {
	var found string
	if err := tx.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, found)
	}
	// IDs have no gaps, so a page that went back to an older version of itself,
	// sound and with records missing, shows in their number.
	var records, given int64
	err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM records),
		(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'records')`).Scan(&records, &given)
	if err != nil {
		return err
	}
	if records != given {
		return fmt.Errorf("%w: it holds %d records of %d", ErrDamaged, records, given)
	}
	return nil
}
