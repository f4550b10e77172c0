package journal

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// Read selects what a loop over all records would.
func TestReadSelects(t *testing.T) {
	j := open(t, journalPath(t))
	var all []Record
	for n := range 60 {
		all = append(all, event(n))
	}
	all = appendAll(t, j, all...)
	rapid.Check(t, func(rt *rapid.T) {
		f := Filter{
			Service:    rapid.SampledFrom([]string{"", "s0", "s1", "s2", "none", "s0' OR 1=1"}).Draw(rt, "service"),
			Deployment: rapid.IntRange(0, 6).Draw(rt, "deployment"),
			After:      rapid.Int64Range(-1, 70).Draw(rt, "after"),
			Limit:      rapid.IntRange(0, 70).Draw(rt, "limit"),
		}
		got, err := j.Read(t.Context(), f)
		if err != nil {
			rt.Fatal(err)
		}
		if want := selected(all, f); !reflect.DeepEqual(got, want) {
			rt.Fatalf("%+v: got %d records, want %d", f, len(got), len(want))
		}
	})
}

func selected(all []Record, f Filter) []Record {
	var recs []Record
	for _, r := range all {
		if r.ID <= f.After || f.Service != "" && r.Service != f.Service ||
			f.Deployment != 0 && r.Deployment != f.Deployment {
			continue
		}
		if f.Limit > 0 && len(recs) == f.Limit {
			break
		}
		recs = append(recs, r)
	}
	return recs
}

// A record that is whole for SQLite and not what was appended is an error, and
// one that Read isn't asked for doesn't stand in the way.
func TestReadFindsAChangedRecord(t *testing.T) {
	for _, change := range []string{
		`id = 20`,
		`at = '2026-03-04T05:06:07.000000000Z'`,
		`at = ''`,
		`service = 's3'`,
		`deployment = 3`,
		`kind = 'Test'`,
		`data = NULL`,
		`data = ''`,
		`data = '{"n":3}'`,
		`sum = sum + 1`,
	} {
		t.Run(change, func(t *testing.T) {
			path := journalPath(t)
			j := open(t, path)
			appendAll(t, j, event(1), event(2))
			closeJournal(t, j)
			execRaw(t, path, `DROP TRIGGER records_refuse_update`,
				fmt.Sprintf(`UPDATE records SET %s WHERE id = 2`, change))
			j, err := Open(t.Context(), path)
			if err == nil {
				t.Cleanup(func() { closeJournal(t, j) })
				_, err = j.Read(t.Context(), Filter{})
			}
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v", err)
			}
			if j == nil {
				return
			}
			if recs, err := j.Read(t.Context(), Filter{Limit: 1}); err != nil || len(recs) != 1 {
				t.Fatalf("the record before: %v, %v", recs, err)
			}
		})
	}
}
