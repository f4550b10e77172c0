package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childEnv makes the test binary play another part than that of the tests; see
// children.
const childEnv = "SEGUE_JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		children[name](os.Args[1])
		return
	}
	goleak.VerifyTestMain(m)
}

// children are what a process started by [child] can do; each gets the path of
// a journal.
var children = map[string]func(path string){
	"append": appendForever,
	"nobody": openAsNobody,
}

// child returns a command that runs the named child on the journal at path.
func child(ctx context.Context, t *testing.T, name, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, path)
	// The race detector would wait for a second at the end of each.
	cmd.Env = append(os.Environ(), childEnv+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// event returns a record whose fields differ with n.
func event(n int) Record {
	return Record{
		At:         epoch.Add(time.Duration(n) * time.Millisecond),
		Service:    fmt.Sprintf("s%d", n%3),
		Deployment: n % 5,
		Kind:       "test",
		Data:       json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

func journalPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "journal.db")
}

func open(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeJournal(t, j) })
	return j
}

func closeJournal(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func appendAll(t *testing.T, j *Journal, recs ...Record) []Record {
	t.Helper()
	added, err := j.Append(t.Context(), recs...)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func readAll(t *testing.T, j *Journal) []Record {
	t.Helper()
	recs, err := j.Read(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return recs
}

// requireSound opens the journal at path, which nobody may have open, checks
// all that must hold for any journal at any time, and returns its records.
func requireSound(t *testing.T, path string) []Record {
	t.Helper()
	j, err := Open(t.Context(), path)
	if err != nil {
		t.Fatalf("a sound journal opens: %v", err)
	}
	defer closeJournal(t, j)
	recs := readAll(t, j)
	for i, r := range recs {
		if r.ID != int64(i+1) {
			t.Fatalf("record %d has ID %d: IDs have no gaps", i+1, r.ID)
		}
		if err := r.validate(); err != nil {
			t.Fatalf("record %d: %v", r.ID, err)
		}
	}
	last, err := j.Last(t.Context())
	if err != nil || last != int64(len(recs)) {
		t.Fatalf("Last is %d, %v; there are %d records", last, err, len(recs))
	}
	requireGuards(t, j)
	return recs
}

func requireGuards(t *testing.T, j *Journal) {
	t.Helper()
	var triggers int
	if err := j.reader.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'`).Scan(&triggers); err != nil {
		t.Fatal(err)
	}
	if triggers != 3 {
		t.Fatalf("%d of 3 triggers are there", triggers)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(j.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Fatalf("%s has mode %v", j.path+suffix, info.Mode())
		}
	}
}

// raw opens the file as any other program would.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func execRaw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db := raw(t, path)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
