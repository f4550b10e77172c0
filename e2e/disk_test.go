package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// TestFullDisk fills the disk in the middle of a deployment: it stops where it
// is, traffic goes on, and it goes on by itself when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The artifact is the demo service itself, some 10 MiB.
	if err := syscall.Mount("segue-e2e", s.Dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("NOT TESTED: a full disk; a tmpfs can't be mounted here: %v", err)
	}
	s.unmount = true
	s.serve()
	s.deploy(release{version: "1"}, 0)
	l := s.load(prove.Config{Rate: 100})
	l.answersFrom("r1", time.Time{})
	done := s.deployBeside(release{version: "2", bake: 20 * time.Second})
	l.answersFrom("r2", time.Now())

	fill := filepath.Join(s.Dir, "fill")
	fillDisk(t, fill)
	eventually(t, "the daemon notices", func() bool {
		text, err := os.ReadFile(s.log)
		return err == nil && strings.Contains(string(text), "stopped at this point")
	})
	l.answersFrom("r2", time.Now())
	s.contains(s.expect(0, "status"), "d2 to r2 is under way")
	s.contains(s.expect(1, "abort", "-s", "web"), "the disk is full", "traffic goes on meanwhile")
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	if res := <-done; res.Code != 0 {
		t.Errorf("exit code %d: %s%s", res.Code, res.Stdout, res.Stderr)
	}
	l.nothingLost()
}

// fillDisk writes until nothing more can be written.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
