package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody has no rights.
const nobody = 65534

// openAsNobody gives up root's rights, in case it has them, and prints what Open
// says.
func openAsNobody(path string) {
	if os.Getuid() == 0 {
		for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)} {
			if err != nil {
				fmt.Println("giving up root's rights:", err)
				return
			}
		}
	}
	j, err := Open(context.Background(), path)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := j.Close(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("opened")
}

func TestOpenWithoutPermission(t *testing.T) {
	for _, c := range []struct {
		name      string
		dir, file os.FileMode
		says      string
	}{
		{"all", 0o777, 0o600, "opened"},
		{"directory can't be entered", 0o000, 0o600, "permission denied"},
		{"directory can't be written to", 0o555, 0o600, "must be writable for the user that Segue runs as"},
		{"file can't be written to", 0o777, 0o400, "must be writable for the user that Segue runs as"},
		{"file can't be read", 0o777, 0o000, "must be writable for the user that Segue runs as"},
		{"new file in a directory that can't be written to", 0o555, 0, "must be writable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// t.TempDir is closed to others.
			dir, err := os.MkdirTemp("", "journal")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.Chmod(dir, 0o700); err != nil {
					t.Error(err)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			})
			path := filepath.Join(dir, "journal.db")
			if !strings.HasPrefix(c.name, "new file") {
				closeJournal(t, open(t, path))
				hand(t, path, c.file)
			}
			if err := os.Chmod(dir, c.dir); err != nil {
				t.Fatal(err)
			}
			out, err := child(t.Context(), t, "nobody", path).Output()
			if err != nil || !strings.Contains(string(out), c.says) {
				t.Fatalf("got %q, %v; want %q", out, err, c.says)
			}
		})
	}
}

// hand gives the file to nobody, as far as that takes root, with the given mode.
func hand(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if os.Getuid() == 0 {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
