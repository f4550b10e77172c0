package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childEnv makes the test binary play another part than that of the tests; see
// children.
const childEnv = "SEGUE_ARTIFACT_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		children[name](os.Args[1])
		return
	}
	goleak.VerifyTestMain(m)
}

// children are what a process started by [child] can do; each gets a directory.
var children = map[string]func(dir string){
	"put":    putForever,
	"nobody": liveAsNobody,
}

func child(ctx context.Context, t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, dir)
	// The race detector would wait for a second at the end of each.
	cmd.Env = append(os.Environ(), childEnv+"="+name, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// tester is what a test and a property have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Context() context.Context
}

// patience is a safety net for what should take milliseconds.
const patience = 30 * time.Second

const testMaxBytes = 1 << 20

func openStore(t *testing.T) *Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "artifacts")
	// Registered after t.TempDir's own removal and so run before it, which
	// can't remove read-only directories.
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	return reopen(t, dir)
}

func reopen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, testMaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// requireSound checks all that must hold for any store between calls, and that
// it holds the given digests and no others.
func requireSound(t *testing.T, s *Store, digests ...string) {
	t.Helper()
	names, err := s.names()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != len(digests) {
		t.Errorf("the store holds %q, want %q", names, digests)
	}
	for _, digest := range digests {
		if err := s.Verify(t.Context(), digest); err != nil {
			t.Error(err)
		}
		requireReadOnly(t, s, digest)
	}
}

func requireReadOnly(t *testing.T, s *Store, digest string) {
	t.Helper()
	dir, err := s.Dir(digest)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Dir(dir), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o222 != 0 {
			t.Errorf("%s can be written to: %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, s *Store, stream []byte) Artifact {
	t.Helper()
	a, err := s.Put(t.Context(), bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pathOf(t *testing.T, s *Store, digest string) string {
	t.Helper()
	dir, err := s.Dir(digest)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tarOf returns a stream of the headers; a regular file's content is its name as
// often as its size asks for.
func tarOf(t tester, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			content := strings.Repeat(h.Name+" ", int(h.Size))[:h.Size]
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func fileHeader(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 10, Mode: 0o644}
}

func dirHeader(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

func linkHeader(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

// makeTree makes files by their paths: "dir/" is a directory, "x -> y" a
// symbolic link, "x*" an executable file, all others are plain ones. A file's
// content is its path.
func makeTree(t tester, dir string, items ...string) {
	t.Helper()
	for _, item := range items {
		name, target, isLink := strings.Cut(item, " -> ")
		name, executable := strings.CutSuffix(name, "*")
		full := filepath.Join(dir, name)
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		case isLink:
			err = os.MkdirAll(filepath.Dir(full), 0o755)
			if err == nil {
				err = os.Symlink(target, full)
			}
		default:
			err = os.MkdirAll(filepath.Dir(full), 0o755)
			if err == nil {
				err = os.WriteFile(full, []byte(name), 0o644)
			}
			if err == nil && executable {
				err = os.Chmod(full, 0o744)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// describeTree gives a tree in the words of makeTree, contents with it.
func describeTree(t tester, dir string) []string {
	t.Helper()
	var items []string
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil || full == dir {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			items = append(items, name+"/")
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(full)
			if err != nil {
				return err
			}
			items = append(items, name+" -> "+target)
		default:
			content, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			star := ""
			if info.Mode()&0o111 != 0 {
				star = "*"
			}
			items = append(items, fmt.Sprintf("%s%s: %s", name, star, content))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func packed(t tester, path string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(t.Context(), path, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
