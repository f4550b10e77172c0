package journal

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// mountSmall mounts a file system of the given size, in bytes, and returns its
// directory.
func mountSmall(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED, mounting isn't permitted here (%v): run as root to test a full disk", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room that is left and returns the file that has it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "fill")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return path
		}
	}
}

func makeRoom(t *testing.T, filler string) {
	t.Helper()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
}

func requireFull(t *testing.T, err error, dir string) {
	t.Helper()
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room in "+dir) {
		t.Fatalf("got %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	dir := mountSmall(t, "1m")
	path := filepath.Join(dir, "journal.db")
	j := open(t, path)
	var acked []Record
	big := event(1)
	big.Data = json.RawMessage(`"` + strings.Repeat("x", 9_000) + `"`)
	for {
		added, err := j.Append(t.Context(), big, big)
		if err != nil {
			requireFull(t, err, dir)
			break
		}
		acked = append(acked, added...)
	}
	filler := fill(t, dir)
	for range 5 {
		_, err := j.Append(t.Context(), big)
		requireFull(t, err, dir)
		if recs := readAll(t, j); !equalRecords(recs, acked) {
			t.Fatalf("%d records can be read of %d", len(recs), len(acked))
		}
	}
	if err := j.Wait(t.Context(), int64(len(acked)-1)); err != nil {
		t.Fatal(err)
	}
	makeRoom(t, filler)
	acked = append(acked, appendAll(t, j, event(2))...)
	closeJournal(t, j)
	if recs := requireSound(t, path); !equalRecords(recs, acked) {
		t.Fatalf("%d records of %d", len(recs), len(acked))
	}
}

// The daemon can be started on a full disk and goes on when there is room, or
// is told why not; no record is lost either way.
func TestOpenOnAFullDisk(t *testing.T) {
	dir := mountSmall(t, "1m")
	path := filepath.Join(dir, "journal.db")
	j := open(t, path)
	acked := appendAll(t, j, event(1), event(2))
	closeJournal(t, j)
	filler := fill(t, dir)
	j, err := Open(t.Context(), path)
	if err != nil {
		requireFull(t, err, dir)
	} else {
		_, err := j.Append(t.Context(), event(3))
		requireFull(t, err, dir)
		closeJournal(t, j)
	}
	makeRoom(t, filler)
	if recs := requireSound(t, path); !equalRecords(recs, acked) {
		t.Fatalf("got %+v", recs)
	}
}

func TestCreateOnAFullDisk(t *testing.T) {
	dir := mountSmall(t, "1m")
	filler := fill(t, dir)
	path := filepath.Join(dir, "journal.db")
	_, err := Open(t.Context(), path)
	requireFull(t, err, dir)
	makeRoom(t, filler)
	if recs := requireSound(t, path); len(recs) != 0 {
		t.Fatalf("got %+v", recs)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mountSmall(t, "1m")
	path := filepath.Join(dir, "journal.db")
	closeJournal(t, open(t, path))
	remount := func(flags uintptr) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	_, err := Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), dir+" must be writable") {
		t.Errorf("an existing journal: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "new.db")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a new journal: %v", err)
	}
	remount(0)
	requireSound(t, path)
}
