package journal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, offset int64, content []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(content, offset); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// contents returns what is in a file, "" for what has no content to compare.
func contents(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !info.Mode().IsRegular() {
		return ""
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func removeBeside(t *testing.T, path string) {
	t.Helper()
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func equalRecords(a, b []Record) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

func TestOpenTightensTheMode(t *testing.T) {
	path := journalPath(t)
	closeJournal(t, open(t, path))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	requireSound(t, path)
}

func TestOpenTakesPathsAsTheyAre(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a ?mode=memory&_query_only=1#%20;'ü`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "journal?.db")
	j := open(t, path)
	appendAll(t, j, event(1))
	closeJournal(t, j)
	if recs := requireSound(t, path); len(recs) != 1 {
		t.Fatalf("got %v", recs)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if recs := requireSound(t, "journal?.db"); len(recs) != 1 {
		t.Fatalf("by a relative path: %v", recs)
	}
}

func TestOpenNamesTheMissingDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "journal.db")
	_, err := Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "create it first") || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Fatalf("got %v", err)
	}
}

// Whatever an Append leaves behind in the log that didn't get to the disk
// whole, the next Open finds a journal that ends between two calls.
func TestTornLogGivesAPrefix(t *testing.T) {
	for _, c := range []struct {
		name string
		// checkpointed is how many calls' records are already in the database
		// when those come whose writing is torn.
		checkpointed, torn int
	}{
		{"everything is in the log", 0, 4},
		{"the log starts again over its old content", 12, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := journalPath(t)
			j := open(t, source)
			appendCalls(t, j, 0, c.checkpointed)
			if c.checkpointed > 0 {
				checkpoint(t, j)
			}
			appendCalls(t, j, c.checkpointed, c.checkpointed+c.torn)
			all := readAll(t, j)
			db, wal := []byte(contents(t, source)), []byte(contents(t, source+"-wal"))
			path := journalPath(t)
			try := func(what string, offset int, torn []byte) {
				write(t, path, db)
				write(t, path+"-wal", torn)
				recs := requireSound(t, path)
				if len(recs) < callSize*c.checkpointed || len(recs)%callSize != 0 || !equalRecords(recs, all[:len(recs)]) {
					t.Fatalf("%s at %d of %d: %d records, no prefix of whole calls", what, offset, len(wal), len(recs))
				}
				removeBeside(t, path)
			}
			for _, offset := range tearOffsets(len(wal)) {
				try("truncated", offset, wal[:offset])
				try("zeros", offset, append(bytes.Clone(wal[:offset]), make([]byte, len(wal)-offset)...))
				if offset < len(wal) {
					flipped := bytes.Clone(wal)
					flipped[offset] ^= 0x40
					try("bit flipped", offset, flipped)
				}
			}
			if recs := tryWhole(t, path, db, wal); len(recs) != len(all) {
				t.Fatalf("the copy that isn't torn has %d records of %d", len(recs), len(all))
			}
		})
	}
}

// tearOffsets returns where a log of the given size is torn: in and around the
// header of each frame, and here and there in its page.
// https://www.sqlite.org/fileformat2.html#the_write_ahead_log
func tearOffsets(size int) []int {
	const logHeader, frameHeader, page = 32, 24, 4096
	offsets := []int{0, 1, logHeader - 1}
	for frame := logHeader; frame < size; frame += frameHeader + page {
		for _, in := range []int{0, 9, frameHeader, frameHeader + 2000} {
			offsets = append(offsets, frame+in)
		}
	}
	return append(offsets, size)
}

// callSize is how many records appendCalls appends with each call.
const callSize = 3

func appendCalls(t *testing.T, j *Journal, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		appendAll(t, j, event(n), event(n), event(n))
	}
}

func tryWhole(t *testing.T, path string, db, wal []byte) []Record {
	t.Helper()
	write(t, path, db)
	write(t, path+"-wal", wal)
	return requireSound(t, path)
}

// checkpoint folds the log into the database and lets the next write start the
// log again at its beginning.
func checkpoint(t *testing.T, j *Journal) {
	t.Helper()
	var busy, frames, done int
	if err := j.writer.QueryRow(`PRAGMA wal_checkpoint(RESTART)`).Scan(&busy, &frames, &done); err != nil {
		t.Fatal(err)
	}
	if busy != 0 || frames != done {
		t.Fatalf("checkpoint: busy %d, %d of %d frames", busy, done, frames)
	}
}
