package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func TestPutUnpacks(t *testing.T) {
	s := openStore(t)
	a := put(t, s, tarOf(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "from git archive"}},
		dirHeader("./"),
		fileHeader("./bin/web"),
		dirHeader("empty"),
		linkHeader("current", "bin/web"),
		tar.Header{Typeflag: tar.TypeReg, Name: "bin/run", Size: 3, Mode: 0o4710, Uid: 7, ModTime: time.Unix(1e9, 0)},
		dirHeader("bin/"),
	))
	if a.Bytes != 13 || a.Files != 2 {
		t.Errorf("got %+v", a)
	}
	want := []string{"bin/", "bin/run*: bin", "bin/web: ./bin/web ", "current -> bin/web", "empty/"}
	if got := describeTree(t, pathOf(t, s, a.Digest)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	requireSound(t, s, a.Digest)
}

func TestPutReportsWhatTheReaderSays(t *testing.T) {
	s := openStore(t)
	broken := errors.New("connection reset")
	whole := tarOf(t, fileHeader("a"))
	for _, n := range []int{0, 512, 515, 1024} {
		r := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken))
		if _, err := s.Put(t.Context(), r); !errors.Is(err, broken) || errors.Is(err, ErrRefused) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	requireSound(t, s)
}

func TestPutEndsWithItsContext(t *testing.T) {
	s := openStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	whole := tarOf(t, fileHeader("a"), fileHeader("b"))
	r := io.MultiReader(bytes.NewReader(whole[:1024]), readerFunc(func(p []byte) (int, error) {
		cancel()
		return copy(p, whole[1024:1024+512]), nil
	}), bytes.NewReader(whole[1536:]))
	if _, err := s.Put(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	requireSound(t, s)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The same artifact put again and again, at once, is there once; with another
// being collected beside it.
func TestPutAtOnce(t *testing.T) {
	s := openStore(t)
	same := tarOf(t, fileHeader("a"), fileHeader("d/b"))
	want := put(t, s, same)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if a, err := s.Put(t.Context(), bytes.NewReader(same)); err != nil || a != want {
				t.Errorf("got %+v, %v", a, err)
			}
			other := tarOf(t, fileHeader(fmt.Sprint(i%3)))
			if _, err := s.Put(t.Context(), bytes.NewReader(other)); err != nil {
				t.Error(err)
			}
			if _, err := s.Collect(t.Context(), map[string]bool{want.Digest: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	requireSound(t, s, want.Digest)
}

// To deploy again is what Verify tells people to do.
func TestPutReplacesADamagedArtifact(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"content": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, treeName, "a"), []byte("other"), 0); err != nil {
				t.Fatal(err)
			}
		},
		"no manifest": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, manifestName)); err != nil {
				t.Fatal(err)
			}
		},
		"no tree": func(t *testing.T, dir string) {
			if err := removeTree(filepath.Join(dir, treeName)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			stream := tarOf(t, fileHeader("a"), fileHeader("b/c"))
			a := put(t, s, stream)
			makeWritable(t, s.dir)
			damage(t, filepath.Dir(pathOf(t, s, a.Digest)))
			if err := s.Verify(t.Context(), a.Digest); !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v", err)
			}
			if b := put(t, s, stream); b != a {
				t.Fatalf("got %+v", b)
			}
			requireSound(t, s, a.Digest)
		})
	}
}
