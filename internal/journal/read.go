package journal

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Filter selects records. Its zero value selects all.
type Filter struct {
	// Service and Deployment restrict to one service's and one deployment's
	// records; empty and 0 don't.
	Service    string
	Deployment int
	// After restricts to records with a greater ID.
	After int64
	// Limit is how many records to return at most, the oldest first; 0 is no
	// limit.
	Limit int
}

// Read returns the records that f selects, in order of their IDs: a view of one
// moment, whatever is appended meanwhile. It fails with [ErrDamaged] when one of
// them isn't what was appended.
func (j *Journal) Read(ctx context.Context, f Filter) ([]Record, error) {
	done, err := j.use()
	if err != nil {
		return nil, j.explain(ctx, "read", err)
	}
	defer done()
	recs, err := query(ctx, j.reader, f)
	if err != nil {
		return nil, j.explain(ctx, "read", err)
	}
	return recs, nil
}

func query(ctx context.Context, db *sql.DB, f Filter) ([]Record, error) {
	text, args := f.sql()
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var recs []Record
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		recs = append(recs, r)
	}
	return recs, rows.Err()
}

func (f Filter) sql() (text string, args []any) {
	where := []string{"id > ?"}
	args = []any{f.After}
	if f.Service != "" {
		where = append(where, "service = ?")
		args = append(args, f.Service)
	}
	if f.Deployment != 0 {
		where = append(where, "deployment = ?")
		args = append(args, f.Deployment)
	}
	text = `SELECT id, at, service, deployment, kind, data, sum FROM records WHERE ` +
		strings.Join(where, " AND ") + ` ORDER BY id`
	if f.Limit > 0 {
		text += ` LIMIT ?`
		args = append(args, f.Limit)
	}
	return text, args
}

func scan(rows *sql.Rows) (Record, error) {
	var (
		w   row
		sum int64
	)
	if err := rows.Scan(&w.id, &w.at, &w.service, &w.deployment, &w.kind, &w.data, &sum); err != nil {
		return Record{}, err
	}
	if w.sum() != sum {
		return Record{}, fmt.Errorf("%w: record %d is not what was appended (its checksum differs)", ErrDamaged, w.id)
	}
	r, err := w.record()
	if err != nil {
		return Record{}, fmt.Errorf("%w: record %d: %w", ErrDamaged, w.id, err)
	}
	return r, nil
}

func lastID(ctx context.Context, db rowQuerier) (last int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM records`).Scan(&last)
	return last, err
}

// rowQuerier is a database or a transaction.
type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
