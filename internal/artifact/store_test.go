package artifact

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// makeWritable lets the tests damage what is in dir.
func makeWritable(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(name, info.Mode().Perm()|0o200)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenNeedsALimit(t *testing.T) {
	for _, limit := range []int64{0, -1} {
		if _, err := Open(t.TempDir(), limit); err == nil {
			t.Errorf("a limit of %d is taken", limit)
		}
	}
}

func TestOpenRemovesWhatKillsLeft(t *testing.T) {
	s := openStore(t)
	a := put(t, s, tarOf(t, fileHeader("a")))
	makeTree(t, s.dir, ".put-1/tree/a/b", ".put-2/", ".gone-3/manifest", ".gone-3/tree/x", "notes")
	for _, closed := range []string{".gone-3/tree", ".gone-3", ".put-1/tree/a"} {
		if err := os.Chmod(filepath.Join(s.dir, closed), storedDirMode); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s.dir)
	if names, err := s.names(); err != nil || !slices.Equal(names, []string{"notes", finalPrefix + a.Digest[len(digestPrefix):]}) {
		t.Errorf("got %q, %v", names, err)
	}
}

func TestOpenTakesARelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := Open("here", 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(s.dir); err != nil {
			t.Error(err)
		}
	})
	if dir := pathOf(t, s, put(t, s, tarOf(t)).Digest); !filepath.IsAbs(dir) {
		t.Errorf("Dir is %s", dir)
	}
}

func TestUnknownDigests(t *testing.T) {
	s := openStore(t)
	put(t, s, tarOf(t, fileHeader("a")))
	for _, digest := range []string{
		"", "sha256:", "sha256:../../etc", strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64),
		"sha256:" + strings.Repeat("a", 63) + "/", "md5:" + strings.Repeat("a", 64),
	} {
		_, err := s.Dir(digest)
		if err == nil || errors.Is(err, ErrUnknown) || s.Has(digest) || s.Verify(t.Context(), digest) == nil {
			t.Errorf("%q: %v", digest, err)
		}
		if removed, err := s.Collect(t.Context(), map[string]bool{digest: true}); err == nil || removed != nil {
			t.Errorf("Collect keeps %q: %v, %v", digest, removed, err)
		}
	}
	none := "sha256:" + strings.Repeat("a", 64)
	if _, err := s.Dir(none); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "deploy it again") {
		t.Errorf("Dir: %v", err)
	}
	if err := s.Verify(t.Context(), none); !errors.Is(err, ErrUnknown) {
		t.Errorf("Verify: %v", err)
	}
	if s.Has(none) {
		t.Error("Has what isn't there")
	}
}

func TestCollect(t *testing.T) {
	s := openStore(t)
	empty := put(t, s, tarOf(t))
	a := put(t, s, tarOf(t, fileHeader("a/b/c"), dirHeader("a/d"), linkHeader("l", "a")))
	b := put(t, s, tarOf(t, fileHeader("b")))
	makeTree(t, s.dir, "notes", "sha256-short/", ".put-under-way/")
	removed, err := s.Collect(t.Context(), map[string]bool{b.Digest: true, a.Digest: false})
	want := []string{a.Digest, empty.Digest}
	slices.Sort(want)
	if err != nil || !slices.Equal(removed, want) {
		t.Fatalf("got %q, %v", removed, err)
	}
	if s.Has(a.Digest) || s.Has(empty.Digest) || !s.Has(b.Digest) {
		t.Error("Has doesn't tell what Collect did")
	}
	names, err := s.names()
	if err != nil || len(names) != 4 {
		t.Errorf("left are %q, %v", names, err)
	}
	if removed, err := s.Collect(t.Context(), map[string]bool{b.Digest: true}); err != nil || len(removed) != 0 {
		t.Errorf("again: %q, %v", removed, err)
	}
}

func TestCollectObeysItsContext(t *testing.T) {
	s := openStore(t)
	a := put(t, s, tarOf(t, fileHeader("a")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if removed, err := s.Collect(ctx, nil); !errors.Is(err, context.Canceled) || removed != nil {
		t.Errorf("got %q, %v", removed, err)
	}
	requireSound(t, s, a.Digest)
}

func TestVerifyFindsAnyDamage(t *testing.T) {
	items := []string{"bin/web*", "bin/data", "conf/a.yaml", "empty/", "link -> bin/web", "x y/\"ü\""}
	flip := func(t *testing.T, path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[rand.IntN(len(content))] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(path, content, 0); err != nil {
			t.Fatal(err)
		}
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		says   string
		damage func(t *testing.T, tree string)
	}{
		{"byte", `"bin/data" is`, func(t *testing.T, tree string) { flip(t, tree+"/bin/data") }},
		{"byte under a strange name", `"x y/\"ü\"" is`, func(t *testing.T, tree string) { flip(t, tree+"/x y/\"ü\"") }},
		{"byte of the manifest", `its manifest is not`, func(t *testing.T, tree string) { flip(t, tree+"/../manifest") }},
		{"shorter", `"bin/web" is`, func(t *testing.T, tree string) { must(t, os.Truncate(tree+"/bin/web", 1)) }},
		{"not executable", `"bin/web" is "file 0644`, func(t *testing.T, tree string) { must(t, os.Chmod(tree+"/bin/web", 0o644)) }},
		{"executable", `"bin/data" is "file 0755`, func(t *testing.T, tree string) { must(t, os.Chmod(tree+"/bin/data", 0o645)) }},
		{"file added", `"bin/new" doesn't belong to it`, func(t *testing.T, tree string) { makeTree(t, tree, "bin/new") }},
		{"directory added", `"new" doesn't belong to it`, func(t *testing.T, tree string) { makeTree(t, tree, "new/") }},
		{"link added", `"new" doesn't belong to it`, func(t *testing.T, tree string) { makeTree(t, tree, "new -> bin") }},
		{"pipe added", `"new" doesn't belong to it`, func(t *testing.T, tree string) { must(t, syscall.Mkfifo(tree+"/new", 0o600)) }},
		{"file removed", `"conf/a.yaml" is missing`, func(t *testing.T, tree string) { must(t, os.Remove(tree+"/conf/a.yaml")) }},
		{"directory removed", `"empty" is missing`, func(t *testing.T, tree string) { must(t, os.Remove(tree+"/empty")) }},
		{"link removed", `"link" is missing`, func(t *testing.T, tree string) { must(t, os.Remove(tree+"/link")) }},
		{"link turned", `"link" is "link \"bin/data\""`, func(t *testing.T, tree string) {
			must(t, os.Remove(tree+"/link"))
			makeTree(t, tree, "link -> bin/data")
		}},
		{"file turned into a link", `"bin/data" is "link`, func(t *testing.T, tree string) {
			must(t, os.Rename(tree+"/bin/data", tree+"/bin/z"))
			makeTree(t, tree, "bin/data -> z")
		}},
		{"file turned into a pipe", `"bin/data" is "special"`, func(t *testing.T, tree string) {
			must(t, os.Remove(tree+"/bin/data"))
			must(t, syscall.Mkfifo(tree+"/bin/data", 0o600))
		}},
		{"renamed", `"bin/data" is missing`, func(t *testing.T, tree string) { must(t, os.Rename(tree+"/bin/data", tree+"/bin/e")) }},
		{"first of several", `"bin/data" is`, func(t *testing.T, tree string) {
			flip(t, tree+"/conf/a.yaml")
			flip(t, tree+"/bin/data")
			makeTree(t, tree, "zzz")
		}},
		{"tree removed", `its tree is missing`, func(t *testing.T, tree string) { must(t, os.RemoveAll(tree)) }},
		{"manifest removed", `its manifest is missing`, func(t *testing.T, tree string) { must(t, os.Remove(tree+"/../manifest")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			source := t.TempDir()
			makeTree(t, source, items...)
			a := put(t, s, packed(t, source))
			requireSound(t, s, a.Digest)
			makeWritable(t, s.dir)
			c.damage(t, pathOf(t, s, a.Digest))
			err := s.Verify(t.Context(), a.Digest)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), a.Digest) {
				t.Errorf("got %v\nwant %s", err, c.says)
			}
		})
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	s := openStore(t)
	a := put(t, s, tarOf(t, fileHeader("a")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx, a.Digest); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}
