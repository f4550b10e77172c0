//go:build linux

package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
	"github.com/segue-deploy/segue/internal/health"
)

func TestRecordComesBack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	r := record{
		Release: driver.Release{
			Service: "web", ID: "r1", Dir: "/artifact", Command: []string{"./serve", "{{.Port}}"}, Env: map[string]string{"A": "1"},
			Health: health.Check{HTTP: &health.HTTP{Path: "/"}, Interval: time.Second}, Limits: driver.Limits{CPU: 0.5}, LogMaxBytes: 1 << 40,
		},
		Index: 2, Phase: running, Port: 20001, RunDir: "/run/web-r1-2", Marker: "m", Boot: "b", Pid: 7, Ticks: 1 << 60,
		FirstStarted: at, Started: at, ReadySince: at, WasReady: true, EverReady: true, Down: true, Restarts: 3, Streak: 1, Message: "x",
	}
	path := filepath.Join(t.TempDir(), "web-r1-2.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseRecord(text, "web-r1-2")
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, error %v", got, err)
	}
	if _, err := parseRecord(text, "web-r1-1"); err == nil {
		t.Error("the record of another instance is taken")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record, which holds the environment, has mode %v, error %v", info.Mode(), err)
	}
}

func TestWriteDurably(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"one", "two"} {
		if err := writeDurably(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("got %q, error %v, want %q", got, err, content)
		}
	}
	// The target can't be replaced: nothing is left over.
	if err := os.MkdirAll(filepath.Join(dir, "taken", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeDurably(filepath.Join(dir, "taken"), nil); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left over: %v, error %v", entries, err)
	}
	if err := writeDurably(filepath.Join(dir, "no", "file"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if err := removeDurably(path); err != nil {
			t.Error(err)
		}
	}
}
