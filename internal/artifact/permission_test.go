package artifact

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// liveAsNobody gives up root's rights, in case it has them, for which read-only
// directories are none, and runs a store through its life.
func liveAsNobody(dir string) {
	const nobody = 65534
	if os.Getuid() == 0 {
		for _, err := range []error{syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)} {
			if err != nil {
				fmt.Println("giving up root's rights:", err)
				return
			}
		}
	}
	if err := live(context.Background(), dir); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("lived")
}

func live(ctx context.Context, dir string) error {
	syscall.Umask(0o077)
	s, err := Open(filepath.Join(dir, "store"), testMaxBytes)
	if err != nil {
		return err
	}
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(filepath.Join(source, "a/b"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(source, "a/b/c"), []byte("x"), 0o700); err != nil {
		return err
	}
	var stream bytes.Buffer
	if err := Pack(ctx, source, &stream); err != nil {
		return err
	}
	a, err := s.Put(ctx, bytes.NewReader(stream.Bytes()))
	if err != nil {
		return err
	}
	if _, err := s.Put(ctx, bytes.NewReader(stream.Bytes())); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if err := s.Verify(ctx, a.Digest); err != nil {
		return err
	}
	if err := isReadOnly(s, a.Digest); err != nil {
		return err
	}
	if _, err := s.Put(ctx, bytes.NewReader(stream.Bytes()[:1024])); err == nil {
		return fmt.Errorf("a cut stream is taken")
	}
	if err := os.Chmod(filepath.Join(source, "a/b/c"), 0); err != nil {
		return err
	}
	if err := Pack(ctx, source, &stream); err == nil || !strings.Contains(err.Error(), "make it readable") {
		return fmt.Errorf("packing an unreadable file: %w", err)
	}
	if _, err := s.Collect(ctx, nil); err != nil {
		return err
	}
	if names, err := s.names(); err != nil || len(names) != 0 {
		return fmt.Errorf("left are %q, %w", names, err)
	}
	return nil
}

// isReadOnly tries what an instance that runs as the daemon's user might, and
// whether one that runs as another can get in.
func isReadOnly(s *Store, digest string) error {
	tree, err := s.Dir(digest)
	if err != nil {
		return err
	}
	if os.WriteFile(filepath.Join(tree, "a/new"), nil, 0o600) == nil {
		return fmt.Errorf("a file can be added")
	}
	if f, err := os.OpenFile(filepath.Join(tree, "a/b/c"), os.O_WRONLY, 0); err == nil {
		f.Close()
		return fmt.Errorf("a file can be written to")
	}
	for path, want := range map[string]os.FileMode{s.dir: 0o711, filepath.Dir(tree): 0o555, tree: 0o555, tree + "/a/b": 0o555, tree + "/a/b/c": 0o555} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Mode().Perm() != want {
			return fmt.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	return nil
}

func TestWithoutRootsRights(t *testing.T) {
	// t.TempDir is closed to others.
	dir, err := os.MkdirTemp("", "artifact")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t.Context(), t, "nobody", dir).Output(); err != nil || string(out) != "lived\n" {
		t.Fatalf("got %q, %v", out, err)
	}
}
