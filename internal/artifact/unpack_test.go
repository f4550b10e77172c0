package artifact

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestPutRefuses(t *testing.T) {
	long := strings.Repeat("x", maxPath+1)
	for _, c := range []struct {
		name    string
		headers []tar.Header
		says    string
	}{
		{"absolute path", []tar.Header{fileHeader("/etc/passwd")}, `"/etc/passwd" is an absolute path`},
		{"parent", []tar.Header{fileHeader("../x")}, "leads out of the artifact"},
		{"parent inside", []tar.Header{fileHeader("a/../../x")}, "leads out of the artifact"},
		{"parent that stays inside", []tar.Header{fileHeader("a/../x")}, "leads out of the artifact"},
		{"parent as a directory", []tar.Header{dirHeader("..")}, "leads out of the artifact"},
		{"the tree itself as a file", []tar.Header{fileHeader(".")}, `"."`},
		{"the tree itself as a link", []tar.Header{linkHeader(".", "x")}, `"."`},
		{"newline", []tar.Header{fileHeader("a\nb")}, "control character"},
		{"escape sequence", []tar.Header{fileHeader("\x1b[2J")}, "control character"},
		{"not UTF-8", []tar.Header{fileHeader("a\xff")}, "not UTF-8"},
		{"long path", []tar.Header{fileHeader(long)}, "the limit is 1024"},
		{"two files", []tar.Header{fileHeader("x"), fileHeader("x")}, `two entries have the path "x"`},
		{"two files, spelt differently", []tar.Header{fileHeader("a/x"), fileHeader("./a//x")}, `two entries have the path "a/x"`},
		{"two directories", []tar.Header{dirHeader("a"), dirHeader("a/")}, `two entries have the path "a"`},
		{"two links", []tar.Header{linkHeader("a", "b"), linkHeader("a", "c")}, `two entries have the path "a"`},
		{"file, then directory", []tar.Header{fileHeader("a"), dirHeader("a")}, `two entries have the path "a"`},
		{"directory, then link", []tar.Header{dirHeader("a"), linkHeader("a", "b")}, `two entries have the path "a"`},
		{"implied directory, then file", []tar.Header{fileHeader("a/b"), fileHeader("a")}, `two entries have the path "a"`},
		{"through a file", []tar.Header{fileHeader("a"), fileHeader("a/b")}, `"a", which is a file`},
		{"through a link that leads out", []tar.Header{linkHeader("a", "/tmp"), fileHeader("a/b")}, "absolute path"},
		{"through a link that stays inside", []tar.Header{dirHeader("d"), linkHeader("a", "d"), fileHeader("a/b")}, `goes through the symbolic link "a"`},
		{"link to an absolute path", []tar.Header{linkHeader("a", "/etc/passwd")}, `"a" points to the absolute path "/etc/passwd"`},
		{"link to the parent", []tar.Header{linkHeader("a", "..")}, "outside of the artifact"},
		{"link out from below", []tar.Header{linkHeader("a/b/c", "../../../x")}, "outside of the artifact"},
		{"link without a target", []tar.Header{linkHeader("a", "")}, `the target ""`},
		{"link with a newline", []tar.Header{linkHeader("a", "b\nc")}, "control character"},
		{"link with a long target", []tar.Header{linkHeader("a", long)}, "longer than 1024"},
		{"links that lead out together", []tar.Header{linkHeader("x/y/up", "../.."), linkHeader("out", "x/y/up/../x")}, `"out" leads out`},
		{"links that lead out together, out first", []tar.Header{linkHeader("out", "x/y/up/../x"), linkHeader("x/y/up", "../..")}, `"out" leads out`},
		{"links in a circle", []tar.Header{linkHeader("a", "b"), linkHeader("b", "a")}, "in a circle"},
		{"hard link", []tar.Header{fileHeader("a"), {Typeflag: tar.TypeLink, Name: "b", Linkname: "a"}}, `"b" is a hard link`},
		{"character device", []tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, `"null" is a device`},
		{"block device", []tar.Header{{Typeflag: tar.TypeBlock, Name: "sda"}}, `"sda" is a device`},
		{"pipe", []tar.Header{{Typeflag: tar.TypeFifo, Name: "p"}}, `"p" is a named pipe`},
		{"unknown type", []tar.Header{{Typeflag: 'X', Name: "p"}}, `tar entry of type 'X'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			stream := tarOf(t, append([]tar.Header{fileHeader("before")}, c.headers...)...)
			_, err := s.Put(t.Context(), bytes.NewReader(stream))
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v; want %q", err, c.says)
			}
			requireSound(t, s)
		})
	}
}

// A link to something that isn't there harms nobody, and build trees have them.
func TestPutTakesLinksThatLeadNowhere(t *testing.T) {
	s := openStore(t)
	a := put(t, s, tarOf(t, fileHeader("f"), linkHeader("a", "none/x"), linkHeader("b", "f/x"), linkHeader("c/d", "../f"), linkHeader("e", ".")))
	requireSound(t, s, a.Digest)
}

// Whatever of a stream arrives, less than all of it is no artifact.
func TestPutRefusesACutStream(t *testing.T) {
	s := openStore(t)
	zeros := tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: 2048}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&zeros); err != nil {
		t.Fatal(err)
	}
	// The end of this file looks like the end mark of a stream.
	if _, err := w.Write(make([]byte, 2048)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, whole := range map[string][]byte{
		"files":           tarOf(t, fileHeader("a"), dirHeader("d"), fileHeader("d/b")),
		"a file of zeros": b.Bytes(),
		"nothing":         tarOf(t),
	} {
		for n := 0; n < len(whole); n += 128 {
			for _, r := range []io.Reader{
				bytes.NewReader(whole[:n]),
				iotest.DataErrReader(bytes.NewReader(whole[:n])),
			} {
				if _, err := s.Put(t.Context(), r); !errors.Is(err, ErrRefused) {
					t.Fatalf("%s, %d of %d bytes: %v", name, n, len(whole), err)
				}
			}
		}
		requireSound(t, s)
		a, err := s.Put(t.Context(), iotest.DataErrReader(bytes.NewReader(whole)))
		if err != nil {
			t.Fatalf("%s, whole: %v", name, err)
		}
		if _, err := s.Collect(t.Context(), nil); err != nil || s.Has(a.Digest) {
			t.Fatal(err)
		}
	}
}

func TestPutRefusesGarbage(t *testing.T) {
	s := openStore(t)
	for _, garbage := range []string{strings.Repeat("not a tar ", 1000), "\x1f\x8b\x08" + strings.Repeat("gzip", 1000)} {
		_, err := s.Put(t.Context(), strings.NewReader(garbage))
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no sound, uncompressed tar stream") {
			t.Errorf("got %v", err)
		}
	}
	requireSound(t, s)
}

func TestPutHoldsItsLimits(t *testing.T) {
	s := openStore(t)
	s.maxBytes, s.maxEntries = 25, 6
	a := put(t, s, tarOf(t, fileHeader("a"), fileHeader("b")))
	// Said before the bytes come: a claim of 1 TiB costs nothing.
	claim := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: 0})
	huge := claimSize(t, claim, 1<<40)
	for name, c := range map[string]struct {
		stream []byte
		says   string
	}{
		"bytes":                  {tarOf(t, fileHeader("a"), fileHeader("b"), fileHeader("c")), "25 bytes, the limit"},
		"claimed bytes":          {huge, "25 bytes, the limit"},
		"entries":                {tarOf(t, dirHeader("1"), dirHeader("2"), dirHeader("3"), dirHeader("4"), dirHeader("5"), dirHeader("6"), dirHeader("7")), "6 files, directories and links, the limit"},
		"implied entries":        {tarOf(t, fileHeader("1/2/3/4/5/6/7")), "6 files, directories and links, the limit"},
		"entries that make none": {tarOf(t, slices.Repeat([]tar.Header{dirHeader(".")}, 7)...), "6 files, directories and links, the limit"},
		"headers that make none": {tarOf(t, slices.Repeat([]tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}}, 7)...), "6 files, directories and links, the limit"},
	} {
		if _, err := s.Put(t.Context(), bytes.NewReader(c.stream)); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	requireSound(t, s, a.Digest)
}

// claimSize changes the size in the first header of a stream.
func claimSize(t *testing.T, stream []byte, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: size}); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), stream[512:]...)
}

// Whatever the stream, Put refuses it and leaves nothing, or what it leaves is
// sound and can be packed again.
func FuzzPut(f *testing.F) {
	f.Add(tarOf(f, fileHeader("a/b"), dirHeader("a"), linkHeader("l", "a"), fileHeader(strings.Repeat("long", 80))))
	f.Add(tarOf(f, linkHeader("x/y/up", "../.."), linkHeader("out", "x/y/up/../x")))
	f.Add(tarOf(f, linkHeader("a", "b"), fileHeader("a/b")))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, stream []byte) {
		s := reopen(t, filepath.Join(dir, fmt.Sprint(os.Getpid())))
		a, err := s.Put(t.Context(), bytes.NewReader(stream))
		if err != nil {
			requireSound(t, s)
			return
		}
		requireSound(t, s, a.Digest)
		if b := put(t, s, packed(t, pathOf(t, s, a.Digest))); b.Files != a.Files {
			t.Errorf("packed again: %+v, was %+v", b, a)
		}
		if _, err := s.Collect(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
