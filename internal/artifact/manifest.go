package artifact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// kind is what an entry is.
type kind string

// The kinds of entry. An artifact holds no special ones; they appear where
// somebody has put one into a store.
const (
	directory kind = "dir"
	regular   kind = "file"
	symlink   kind = "link"
	special   kind = "special"
)

// entry is one line of a manifest.
type entry struct {
	// path is relative to the tree, with slashes, and clean.
	path string
	kind kind
	// executable, size (in bytes) and sum (the content's SHA-256 in
	// hexadecimal) are a regular file's.
	executable bool
	size       int64
	sum        string
	// target is a symbolic link's, as it stands in the link.
	target string
}

// manifest lists the entries of a tree in the byte order of their paths,
// without the tree's own directory.
type manifest []entry

// manifestHeader is the first line. It changes when the form of the others
// does, so that no two forms have a digest in common.
const manifestHeader = "segue artifact 1\n"

// encode returns the canonical form, which the digest is taken of:
//
//	segue artifact 1
//	"bin" dir
//	"bin/web" file 0755 1234 9f86d081884c7d65…
//	"current" link "bin/web"
//
// Paths are quoted in ASCII, as a Go string literal, so that any name has one
// form.
func (m manifest) encode() []byte {
	slices.SortFunc(m, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	var b bytes.Buffer
	b.WriteString(manifestHeader)
	for _, e := range m {
		fmt.Fprintf(&b, "%s %s\n", strconv.QuoteToASCII(e.path), e.describe())
	}
	return b.Bytes()
}

// describe says all about an entry but its path.
func (e entry) describe() string {
	switch e.kind {
	case regular:
		return fmt.Sprintf("%s %04o %d %s", e.kind, sentMode(e.executable), e.size, e.sum)
	case symlink:
		return fmt.Sprintf("%s %s", e.kind, strconv.QuoteToASCII(e.target))
	}
	return string(e.kind)
}

// artifact sums the manifest up.
func (m manifest) artifact() Artifact {
	sum := sha256.Sum256(m.encode())
	a := Artifact{Digest: digestPrefix + hex.EncodeToString(sum[:])}
	for _, e := range m {
		if e.kind == regular {
			a.Files++
			a.Bytes += e.size
		}
	}
	return a
}

// difference returns a sentence about the first path in which the manifest of a
// tree as it is differs from the encoded one of the tree as it should be, empty
// if there is none.
func (m manifest) difference(encoded []byte) (string, error) {
	should, err := descriptions(encoded)
	if err != nil {
		return "", err
	}
	is := make(map[string]string, len(m))
	for _, e := range m {
		is[e.path] = e.describe()
	}
	var paths []string
	for p := range is {
		paths = append(paths, p)
	}
	for p := range should {
		if _, ok := is[p]; !ok {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	for _, p := range paths {
		switch a, b := is[p], should[p]; {
		case a == "":
			return fmt.Sprintf("%q is missing", p), nil
		case b == "":
			return fmt.Sprintf("%q doesn't belong to it", p), nil
		case a != b:
			return fmt.Sprintf("%q is %q and should be %q", p, a, b), nil
		}
	}
	return "", nil
}

// descriptions maps the paths of an encoded manifest to what it says of them.
func descriptions(encoded []byte) (map[string]string, error) {
	text, ok := strings.CutPrefix(string(encoded), manifestHeader)
	if !ok {
		return nil, fmt.Errorf("its manifest doesn't begin with %q", manifestHeader)
	}
	all := map[string]string{}
	for line := range strings.Lines(text) {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("its manifest has the line %q", line)
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("its manifest has the line %q", line)
		}
		all[name] = strings.TrimSpace(line[len(quoted):])
	}
	return all, nil
}

// sentMode is a file's mode in a tar stream and in the manifest.
func sentMode(executable bool) fs.FileMode {
	if executable {
		return 0o755
	}
	return 0o644
}

// storedMode is a file's mode in a store, where nobody may write to it.
func storedMode(executable bool) fs.FileMode {
	if executable {
		return 0o555
	}
	return 0o444
}

// isExecutable reduces a mode to the one bit that an artifact keeps.
func isExecutable(mode fs.FileMode) bool {
	return mode&0o111 != 0
}
