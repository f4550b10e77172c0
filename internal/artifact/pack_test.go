package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// namesIn returns the names in a stream, in its order.
func namesIn(t *testing.T, stream []byte) []string {
	t.Helper()
	var names []string
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestPackADirectory(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "b/2*", "b/1", "a -> b/../b", "empty/", "none -> nowhere", "c/.git/config", ".git/HEAD", "c/.gitignore", "sub/.git", ".segueignore", "c/.segueignore")
	if err := os.WriteFile(filepath.Join(dir, ".segueignore"), []byte("# nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stream := packed(t, dir)
	want := []string{"a", "b/", "b/1", "b/2", "c/", "c/.gitignore", "c/.segueignore", "empty/", "none", "sub/"}
	if got := namesIn(t, stream); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(filepath.Join(dir, "b/1"), old, old); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(packed(t, dir), stream) {
		t.Error("the same tree gives another stream")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(packed(t, link), stream) {
		t.Error("a link to the tree gives another stream")
	}
	t.Chdir(dir)
	if !bytes.Equal(packed(t, "."), stream) {
		t.Error("the working directory gives another stream")
	}
}

func TestPackAFile(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "bin/web-1.2*", "web -> bin/web-1.2")
	s := openStore(t)
	for path, want := range map[string]string{"bin/web-1.2": "web-1.2*: bin/web-1.2", "web": "web*: bin/web-1.2"} {
		a := put(t, s, packed(t, filepath.Join(dir, path)))
		if got := describeTree(t, pathOf(t, s, a.Digest)); !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	t.Chdir(filepath.Join(dir, "bin"))
	if got := namesIn(t, packed(t, "web-1.2")); !slices.Equal(got, []string{"web-1.2"}) {
		t.Errorf("in the working directory: %q", got)
	}
}

func TestTheEmptyArtifact(t *testing.T) {
	s := openStore(t)
	a := put(t, s, packed(t, ""))
	if a.Bytes != 0 || a.Files != 0 {
		t.Errorf("got %+v", a)
	}
	if b := put(t, s, packed(t, t.TempDir())); b != a {
		t.Errorf("an empty directory gives %+v, want %+v", b, a)
	}
	requireSound(t, s, a.Digest)
	if got := describeTree(t, pathOf(t, s, a.Digest)); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestPackRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string)
		says string
	}{
		{"link to the outside", func(t *testing.T, dir string) { makeTree(t, dir, "d/l -> ../../x") }, `"d/l" points to "../../x", outside`},
		{"absolute link", func(t *testing.T, dir string) { makeTree(t, dir, "x", "l -> "+dir+"/x") }, `"l" points to the absolute path`},
		{"links that lead out together", func(t *testing.T, dir string) { makeTree(t, dir, "x/y/up -> ../..", "out -> x/y/up/../x") }, `"out" leads out`},
		{"links in a circle", func(t *testing.T, dir string) { makeTree(t, dir, "l -> l") }, "in a circle"},
		{"pipe", func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "p"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, `"p" is a socket, a device or a pipe`},
		{"socket", func(t *testing.T, dir string) {
			t.Chdir(dir)
			l, err := net.Listen("unix", "s")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, `"s" is a socket, a device or a pipe`},
		{"newline in a name", func(t *testing.T, dir string) { makeTree(t, dir, "a\nb") }, "control character"},
		{"name that isn't UTF-8", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "a\xff"), 0o755); err != nil {
				t.Skipf("not on this file system: %v", err)
			}
		}, "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			err := Pack(t.Context(), dir, io.Discard)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("device as the artifact", func(t *testing.T) {
		if err := Pack(t.Context(), os.DevNull, io.Discard); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nothing there", func(t *testing.T) {
		if err := Pack(t.Context(), filepath.Join(t.TempDir(), "none"), io.Discard); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

// What is left out may be whatever it likes.
func TestPackLeavesOutBeforeItRefuses(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "l -> /etc", "keep", "private/x")
	if err := syscall.Mkfifo(filepath.Join(dir, "p"), 0o600); err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(dir, "private")
	if err := os.Chmod(private, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(private, 0o700); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, ".segueignore"), []byte("/l\np\nprivate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := namesIn(t, packed(t, dir)); !slices.Equal(got, []string{"keep"}) {
		t.Errorf("got %q", got)
	}
}

func TestPackNoticesAChange(t *testing.T) {
	for name, change := range map[string]func(f *os.File) error{
		"grows":             func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 1<<20); return err },
		"shrinks":           func(f *os.File) error { return f.Truncate(700_000) },
		"keeps its size":    func(f *os.File) error { _, err := f.WriteAt([]byte("x"), 1<<20-1); return err },
		"shrinks to naught": func(f *os.File) error { return f.Truncate(0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "log")
			if err := os.WriteFile(path, make([]byte, 1<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			// A time that a write, however soon, can't have.
			old := time.Unix(1e9, 0)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			written := 0
			err = Pack(t.Context(), dir, writerFunc(func(p []byte) (int, error) {
				if written += len(p); written > 100_000 && change != nil {
					if err := change(f); err != nil {
						t.Error(err)
					}
					change = nil
				}
				return len(p), nil
			}))
			if err == nil || !strings.Contains(err.Error(), `"log" changed while it was packed`) {
				t.Errorf("got %v", err)
			}
		})
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestPackReportsWhatTheWriterSays(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "a")
	broken := errors.New("connection reset")
	for n := range 4 {
		err := Pack(t.Context(), dir, writerFunc(func(p []byte) (int, error) {
			if n--; n < 0 {
				return 0, broken
			}
			return len(p), nil
		}))
		if err != nil && !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
}

func TestPackEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Pack(ctx, dir, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What is packed and put is the tree that it was, has one digest, and is sound.
func TestPackAndPutKeepTheTree(t *testing.T) {
	s := openStore(t)
	segment := rapid.StringMatching(`[a-c.é"' %-]{1,3}|[a-z]{90,110}`).Filter(func(s string) bool { return s != "." && s != ".." })
	path := rapid.Custom(func(rt *rapid.T) string {
		return strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(rt, "path"), "/")
	})
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "tree")
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 12).Draw(rt, "entries") {
			makeEntry(rt, dir, path.Draw(rt, "path"))
		}
		want := describeTree(rt, dir)
		a, err := s.Put(t.Context(), bytes.NewReader(packed(rt, dir)))
		if err != nil {
			rt.Fatal(err)
		}
		if got := describeTree(rt, filepath.Join(s.dir, finalPrefix+a.Digest[len(digestPrefix):], treeName)); !slices.Equal(got, want) {
			rt.Fatalf("got  %q\nwant %q", got, want)
		}
		if err := s.Verify(t.Context(), a.Digest); err != nil {
			rt.Fatal(err)
		}
		copied := filepath.Join(s.dir, finalPrefix+a.Digest[len(digestPrefix):], treeName)
		if b, err := s.Put(t.Context(), bytes.NewReader(packed(rt, copied))); err != nil || b != a {
			rt.Fatalf("packed from the store: %+v, %v, want %+v", b, err, a)
		}
	})
}

// makeEntry makes something at the path, unless something else is in the way.
func makeEntry(rt *rapid.T, dir, name string) {
	full := filepath.Join(dir, name)
	if os.MkdirAll(filepath.Dir(full), 0o755) != nil {
		return
	}
	switch rapid.IntRange(0, 3).Draw(rt, "kind") {
	case 0:
		_ = os.Mkdir(full, 0o755)
	case 1:
		depth := strings.Count(name, "/")
		_ = os.Symlink(strings.Repeat("../", rapid.IntRange(0, depth).Draw(rt, "up"))+"t", full)
	default:
		content := rapid.SliceOfN(rapid.Byte(), 0, 1500).Draw(rt, "content")
		mode := rapid.SampledFrom([]os.FileMode{0o600, 0o644, 0o755, 0o700}).Draw(rt, "mode")
		_ = os.WriteFile(full, content, mode)
	}
}
