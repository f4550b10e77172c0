package main

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// open opens a store that the test closes at its end.
func open(t *testing.T, dir string) *store {
	t.Helper()
	st, err := openStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestEntriesOutliveTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a new one")
	st := open(t, dir)
	want := []entry{{1, "a", 7, "r1"}, {2, "b?", -7, "r2"}}
	for _, e := range want {
		if row, err := st.insert(t.Context(), e); row != e.Row || err != nil {
			t.Errorf("insert %s: row %d, %v", e.ID, row, err)
		}
	}
	if _, err := st.insert(t.Context(), entry{ID: "a", Amount: 8, Release: "r3"}); !errors.Is(err, errExists) {
		t.Errorf("a second a: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	st = open(t, dir)
	if got, err := st.list(t.Context(), 0, 10); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := st.list(t.Context(), 0, 1); !reflect.DeepEqual(got, want[:1]) || err != nil {
		t.Errorf("one of them: %v, %v", got, err)
	}
	if got, err := st.list(t.Context(), 1, 10); !reflect.DeepEqual(got, want[1:]) || err != nil {
		t.Errorf("after the first: %v, %v", got, err)
	}
	if got, err := st.find(t.Context(), "b?"); got != want[1] || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := st.find(t.Context(), "c"); !errors.Is(err, errMissing) {
		t.Errorf("c: %v", err)
	}
	if row, err := st.insert(t.Context(), entry{ID: "c"}); row != 3 || err != nil {
		t.Errorf("insert c: row %d, %v", row, err)
	}
}

// What is answered must be on the disk: the settings that see to it are in force.
func TestCommitsAreDurable(t *testing.T) {
	st := open(t, t.TempDir())
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "locking_mode": "exclusive"} {
		var got string
		if err := st.db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
		}
	}
}

func TestOnlyOneStoreIsOpen(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	_, err := openStore(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "another process has the ledger (process "+strconv.Itoa(os.Getpid())+",") {
		t.Errorf("a second one: %v", err)
	}
	// SQLite keeps others out as well, such as a program that knows nothing of the
	// lock file.
	if err := touch(filepath.Join(dir, "ledger.db")); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("another program got in: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Error(err)
	}
}

// touch reads the database as any other program would.
func touch(path string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	var n int
	return db.QueryRow(`SELECT count(*) FROM entries`).Scan(&n)
}

func TestFailedOpenKeepsNoLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(t.Context(), dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v, want an error that names %s", err, dir)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}
