package journal

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestOpenRefusesWhatIsNoSoundJournal(t *testing.T) {
	filled := func(t *testing.T, path string) {
		j := open(t, path)
		for n := range 100 {
			appendAll(t, j, event(n))
		}
		closeJournal(t, j)
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
		says string
	}{
		{"text", func(t *testing.T, path string) {
			write(t, path, []byte(strings.Repeat("service: web\n", 1000)))
		}, ErrForeign, "move this one away"},
		{"short text", func(t *testing.T, path string) { write(t, path, []byte("x")) }, ErrForeign, "move this one away"},
		{"another database", func(t *testing.T, path string) {
			execRaw(t, path, `CREATE TABLE users (name TEXT)`)
		}, ErrForeign, "SQLite database of something else"},
		{"another database with a version", func(t *testing.T, path string) {
			execRaw(t, path, `PRAGMA user_version = 1`)
		}, ErrForeign, "SQLite database of something else"},
		{"newer", func(t *testing.T, path string) {
			filled(t, path)
			execRaw(t, path, `PRAGMA user_version = 2`)
		}, ErrNewer, "schema version 2"},
		{"version that never was", func(t *testing.T, path string) {
			filled(t, path)
			execRaw(t, path, `PRAGMA user_version = 0`)
		}, ErrDamaged, "backup"},
		{"records missing", func(t *testing.T, path string) {
			filled(t, path)
			execRaw(t, path, `DROP TRIGGER records_refuse_delete`, `DELETE FROM records WHERE id = 50`)
		}, ErrDamaged, "99 records of 100"},
		{"truncated", func(t *testing.T, path string) {
			filled(t, path)
			if err := os.Truncate(path, 2*4096); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged, "backup"},
		{"page of zeros", func(t *testing.T, path string) {
			filled(t, path)
			overwrite(t, path, 4096, make([]byte, 4096))
		}, ErrDamaged, "backup"},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign, "directory"},
		{"device", func(t *testing.T, path string) {
			if err := os.Symlink("/dev/null", path); err != nil {
				t.Fatal(err)
			}
		}, ErrForeign, "no regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := journalPath(t)
			c.make(t, path)
			before := contents(t, path)
			_, err := Open(t.Context(), path)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v", err)
			}
			if errors.Is(c.want, ErrForeign) && before != contents(t, path) {
				t.Error("Open changed a file that isn't Segue's")
			}
		})
	}
}

// Whatever byte of the file turns, Open and Read either say that it is damaged
// or give all the records as they were.
func TestDamageIsFoundOrHarmless(t *testing.T) {
	original := journalPath(t)
	j := open(t, original)
	const n = 40
	for i := range n {
		appendAll(t, j, event(i))
	}
	closeJournal(t, j)
	want := requireSound(t, original)
	whole := []byte(contents(t, original))
	path := journalPath(t)
	for offset := 0; offset < len(whole); offset += 331 {
		damaged := append([]byte(nil), whole...)
		damaged[offset] ^= 0x10
		write(t, path, damaged)
		j, err := Open(t.Context(), path)
		if err != nil {
			continue
		}
		recs, err := j.Read(t.Context(), Filter{})
		if err == nil && !equalRecords(recs, want) {
			t.Errorf("offset %d: damage went unseen", offset)
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("offset %d: %v", offset, err)
		}
		closeJournal(t, j)
		removeBeside(t, path)
	}
}

func TestOpenGoesOnWithAnUnfinishedFile(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, path string){
		"empty": func(t *testing.T, path string) { write(t, path, nil) },
		"log mode and no schema": func(t *testing.T, path string) {
			write(t, path, nil)
			execRaw(t, path, `PRAGMA journal_mode = WAL`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := journalPath(t)
			begin(t, path)
			if recs := requireSound(t, path); len(recs) != 0 {
				t.Fatalf("got %v", recs)
			}
		})
	}
}

func TestTheDatabaseRefusesChanges(t *testing.T) {
	path := journalPath(t)
	j := open(t, path)
	appendAll(t, j, event(1), event(2))
	const columns = ` INTO records (id, at, service, deployment, kind, sum) VALUES `
	for _, statement := range []string{
		`UPDATE records SET kind = 'x'`,
		`UPDATE records SET id = 9 WHERE id = 2`,
		`DELETE FROM records`,
		`DELETE FROM records WHERE id = 2`,
		`INSERT OR REPLACE` + columns + `(2, '', '', 0, 'x', 0)`,
		`REPLACE` + columns + `(1, '', '', 0, 'x', 0)`,
		`INSERT` + columns + `(0, '', '', 0, 'x', 0)`,
		`INSERT` + columns + `(1, '', '', 0, 'x', 0) ON CONFLICT DO UPDATE SET kind = 'x'`,
	} {
		_, err := j.writer.Exec(statement)
		if err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if _, err := j.reader.Exec(`INSERT` + columns + `(3, '', '', 0, 'x', 0)`); err == nil {
		t.Error("a reader's connection writes")
	}
	closeJournal(t, j)
	if recs := requireSound(t, path); len(recs) != 2 || recs[1].Kind != "test" {
		t.Fatalf("got %+v", recs)
	}
}
