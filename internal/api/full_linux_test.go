package api

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullJournal: on a full disk a command is refused with the remedy, looking
// still works, and with room again all goes on.
func TestFullJournal(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT TESTED, mounting isn't permitted here (%v): run as root to test a full disk", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	w := newWorldIn(t, dir)
	w.deploy()
	filler := filepath.Join(dir, "fill")
	fill(t, filler)
	// The journal may have room left in its own files.
	var full *Problem
	for full == nil {
		d, err := w.request("", strings.Repeat("because ", 1000))
		if err == nil {
			if d = w.await(d.ID); d.Phase != PhasePromoted {
				t.Fatalf("%+v", d)
			}
			continue
		}
		var ok bool
		if full, ok = errors.AsType[*Problem](err); !ok {
			t.Fatal(err)
		}
	}
	if full.Status != http.StatusInsufficientStorage || full.Type != "urn:segue:full" ||
		!strings.Contains(full.Detail, "make room in "+dir) || !strings.Contains(full.Hint, "traffic goes on") {
		t.Errorf("%+v", full)
	}
	before, err := w.client.Status(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if d := w.deploy(); d.Phase != PhasePromoted || d.Stable != before.Stable {
		t.Errorf("with room again: %+v", d)
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
