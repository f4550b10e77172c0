package artifact

import (
	"archive/tar"
	"slices"
	"testing"
	"time"
)

// The digest of a tree must be the same in every version of Segue, and is a
// matter of what is in the tree alone.
func TestDigest(t *testing.T) {
	s := openStore(t)
	base := []tar.Header{dirHeader("d"), fileHeader("d/f"), fileHeader("é"), linkHeader("l", "d")}
	a := put(t, s, tarOf(t, base...))
	const want = "sha256:baa3b9a38c14d0f867c73656220e4c035b9385a6a85dd84d8ea54a27d3df7fb9"
	if a.Digest != want {
		t.Errorf("the digest is %s, want %s: stored artifacts would not be found again", a.Digest, want)
	}
	same := slices.Clone(base)
	slices.Reverse(same)
	for i := range same {
		same[i].Uid, same[i].Gid, same[i].Uname = 1000, 1000, "somebody"
		same[i].ModTime = time.Unix(1e9, 0)
		if same[i].Typeflag == tar.TypeReg {
			same[i].Mode = 0o606
		}
	}
	if b := put(t, s, tarOf(t, same...)); b != a {
		t.Errorf("in another order, of another owner and time: %+v, want %+v", b, a)
	}
	if b := put(t, s, tarOf(t, base[1:]...)); b != a {
		t.Errorf("with its directory implied: %+v, want %+v", b, a)
	}
	requireSound(t, s, a.Digest)
	seen := map[string]bool{a.Digest: true}
	for name, change := range map[string]func(h []tar.Header) []tar.Header{
		"executable":       func(h []tar.Header) []tar.Header { h[1].Mode = 0o645; return h },
		"size":             func(h []tar.Header) []tar.Header { h[1].Size++; return h },
		"content and name": func(h []tar.Header) []tar.Header { h[1].Name = "d/g"; return h },
		"target":           func(h []tar.Header) []tar.Header { h[3].Linkname = "./d"; return h },
		"empty directory":  func(h []tar.Header) []tar.Header { return append(h, dirHeader("e")) },
		"one less":         func(h []tar.Header) []tar.Header { return h[:3] },
		"nothing":          func([]tar.Header) []tar.Header { return nil },
		"dir for a file":   func(h []tar.Header) []tar.Header { h[1] = dirHeader("d/f"); return h },
	} {
		b := put(t, s, tarOf(t, change(slices.Clone(base))...))
		if seen[b.Digest] {
			t.Errorf("%s: has the digest of another tree", name)
		}
		seen[b.Digest] = true
	}
}
