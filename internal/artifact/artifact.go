// Package artifact keeps the bytes of releases: immutable, and named by what is
// in them.
//
// An artifact is a tree of directories, regular files and symbolic links. It
// travels as a tar stream, which [Pack] makes of a file or a directory where
// `segue deploy` runs, and which [Store.Put] unpacks where the daemon runs. What
// doesn't matter to the program that will run from it is not part of it: owners,
// times, all permission bits but "executable".
//
// Its [Artifact.Digest] is the SHA-256 of its manifest, a list of all that is in
// it with the content's own digests, so two streams of the same tree have the
// same digest whatever their order, and each exists in the store once. The
// manifest is stored beside the tree; [Store.Verify] holds the tree against it.
//
// The store's directory holds one directory per artifact, and what is under way:
//
//	sha256-<hex>/manifest   see manifest.go
//	sha256-<hex>/tree/      what instances run from
//	.put-*                  being unpacked
//	.gone-*                 being deleted
//
// A directory gets its final name when all that is in it is on the disk, and
// loses that name before anything in it goes; so whatever has a final name is
// whole, after a kill or a power failure as well. [Open] removes the others.
package artifact

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Artifact describes what a store holds under one digest.
type Artifact struct {
	// Digest names it: "sha256:" and 64 hexadecimal digits.
	Digest string `json:"digest"`
	// Bytes is the size of the files' contents together, Files their number.
	Bytes int64 `json:"bytes"`
	Files int   `json:"files"`
}

// What can be wrong with an artifact, for [errors.Is].
var (
	// ErrRefused: the stream or the tree holds something that an artifact must
	// not hold, or ends too early.
	ErrRefused = errors.New("refused")
	// ErrTooLarge: it is over a limit of the store.
	ErrTooLarge = errors.New("too large")
	// ErrUnknown: no artifact of that digest is in the store.
	ErrUnknown = errors.New("no such artifact in the store")
	// ErrDamaged: what is on the disk isn't what was put there.
	ErrDamaged = errors.New("the artifact is damaged")
)

const digestPrefix = "sha256:"

// digestHex returns the hexadecimal digits of a digest and refuses what isn't
// one, for they become a file's name.
func digestHex(digest string) (string, error) {
	digits, ok := strings.CutPrefix(digest, digestPrefix)
	if _, err := hex.DecodeString(digits); !ok || err != nil || len(digits) != 64 || digits != strings.ToLower(digits) {
		return "", fmt.Errorf("%q is no digest of an artifact (want %q and 64 hexadecimal digits)", digest, digestPrefix)
	}
	return digits, nil
}
