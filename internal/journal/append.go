package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Append adds the records at the end, all or none, and returns them with their
// IDs once they are safe on the disk. It takes At as it is and fails when it is
// zero, when Kind is empty, and when Data is no JSON. No records are no error.
//
// ctx counts until the write begins and no longer: what has begun is finished,
// so that a caller who goes away doesn't leave the outcome open. After an error
// none of the records is in the journal, with one exception: when the disk
// refused the very last step, the sync, they may be there after the next Open.
// When the error is [ErrFull], Append works again as soon as there is room.
func (j *Journal) Append(ctx context.Context, recs ...Record) ([]Record, error) {
	for i, r := range recs {
		if err := r.validate(); err != nil {
			return nil, fmt.Errorf("append to journal %s: record %d of %d (kind %q): %w", j.path, i+1, len(recs), r.Kind, err)
		}
	}
	if len(recs) == 0 {
		return nil, nil
	}
	done, err := j.use()
	if err != nil {
		return nil, j.explain(ctx, "append", err)
	}
	defer done()
	added, err := j.write(ctx, recs)
	if err != nil {
		return nil, j.explain(ctx, "append", err)
	}
	return added, nil
}

func (r Record) validate() error {
	switch {
	case r.At.IsZero():
		return errors.New("its time is zero: set At")
	case r.At.UTC().Year() < 1 || r.At.UTC().Year() > 9999:
		return fmt.Errorf("its time %v is outside of the years 1 to 9999", r.At)
	case r.Kind == "":
		return errors.New("its kind is empty: set Kind")
	case len(r.Data) > 0 && !json.Valid(r.Data):
		return fmt.Errorf("its data is no valid JSON: %.60q", r.Data)
	}
	return nil
}

func (j *Journal) write(ctx context.Context, recs []Record) ([]Record, error) {
	conn, err := j.writer.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	added, err := insert(context.WithoutCancel(ctx), conn, recs)
	if err != nil {
		return nil, err
	}
	// Still the only one that writes, so tails follow each other in order.
	old := j.tail.Swap(&tail{last: added[len(added)-1].ID, grown: make(chan struct{})})
	close(old.grown)
	return added, nil
}

func insert(ctx context.Context, conn *sql.Conn, recs []Record) ([]Record, error) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	// After a commit this does nothing; after an error that rolled back by
	// itself, as a full disk does, it fails and there is nothing left to do.
	defer tx.Rollback()
	last, err := lastID(ctx, tx)
	if err != nil {
		return nil, err
	}
	added := slices.Clone(recs)
	for i := range added {
		r := &added[i]
		r.ID = last + int64(i) + 1
		r.At = r.At.Round(0).UTC()
		if err := insertOne(ctx, tx, *r); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	return added, nil
}

func insertOne(ctx context.Context, tx *sql.Tx, r Record) error {
	row := r.row()
	_, err := tx.ExecContext(ctx,
		`INSERT INTO records (id, at, service, deployment, kind, data, sum) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		row.id, row.at, row.service, row.deployment, row.kind, row.data, row.sum())
	return err
}
