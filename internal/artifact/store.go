package artifact

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Store keeps artifacts in a directory. Its methods can be called by any number
// of goroutines, but only one process at a time may have the directory open.
type Store struct {
	dir      string
	maxBytes int64
	// maxEntries bounds the files, directories and links of one artifact, each
	// of which costs the file system something that maxBytes doesn't see.
	maxEntries int

	// naming is held while a final name in dir is given or taken away.
	naming sync.Mutex
}

const defaultMaxEntries = 200_000

// Names in the store's directory; see the package's documentation.
const (
	finalPrefix  = "sha256-"
	putPrefix    = ".put-"
	gonePrefix   = ".gone-"
	manifestName = "manifest"
	treeName     = "tree"
)

// Open opens the store in dir, creates it if there is none, and removes what
// interrupted calls have left in it. No artifact that is put into it may have
// more than maxBytes of content.
func Open(dir string, maxBytes int64) (*Store, error) {
	if maxBytes <= 0 {
		return nil, fmt.Errorf("open artifact store %s: the limit of %d bytes per artifact allows none", dir, maxBytes)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	s := &Store{dir: dir, maxBytes: maxBytes, maxEntries: defaultMaxEntries}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open artifact store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	// Instances may run as other users, so others may pass, though not list.
	const mode = 0o711
	if err := os.MkdirAll(s.dir, mode); err != nil {
		return err
	}
	// Whatever the umask is.
	if err := os.Chmod(s.dir, mode); err != nil {
		return err
	}
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, putPrefix) && !strings.HasPrefix(name, gonePrefix) {
			continue
		}
		if err := removeTree(filepath.Join(s.dir, name)); err != nil {
			return fmt.Errorf("remove what an interrupted call left: %w", err)
		}
	}
	return errors.Join(syncPath(s.dir), syncPath(filepath.Dir(s.dir)))
}

func (s *Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Dir returns the absolute path of the tree of an artifact, or [ErrUnknown].
// Nobody may write into it.
func (s *Store) Dir(digest string) (string, error) {
	dir, err := s.lookUp(digest)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, treeName), nil
}

// Has reports whether the artifact is in the store.
func (s *Store) Has(digest string) bool {
	_, err := s.lookUp(digest)
	return err == nil
}

// lookUp returns the directory that has the final name of a digest.
func (s *Store) lookUp(digest string) (string, error) {
	digits, err := digestHex(digest)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, finalPrefix+digits)
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("artifact %s: %w %s: deploy it again", digest, ErrUnknown, s.dir)
	case err != nil:
		return "", fmt.Errorf("artifact %s: %w", digest, err)
	case !info.IsDir():
		return "", fmt.Errorf("artifact %s: %w: %s is no directory; move it away and deploy again", digest, ErrDamaged, dir)
	}
	return dir, nil
}

// Verify reads an artifact from the disk and fails with [ErrDamaged], naming the
// first path that differs, if it isn't what was put into the store; with
// [ErrUnknown] if nothing was.
func (s *Store) Verify(ctx context.Context, digest string) error {
	dir, err := s.lookUp(digest)
	if err != nil {
		return err
	}
	difference, err := compare(ctx, dir, digest)
	switch {
	case err != nil:
		return fmt.Errorf("verify artifact %s: %w", digest, err)
	case difference != "":
		return fmt.Errorf("verify artifact %s in %s: %w: %s; deploy the same artifact again to put it right", digest, dir, ErrDamaged, difference)
	}
	return nil
}

// compare says how what is in dir differs from what its digest stands for.
func compare(ctx context.Context, dir, digest string) (difference string, err error) {
	encoded, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return "its manifest is missing", nil
	}
	if err != nil {
		return "", err
	}
	if sum := sha256.Sum256(encoded); digestPrefix+hex.EncodeToString(sum[:]) != digest {
		return "its manifest is not the one that was stored", nil
	}
	root, err := os.OpenRoot(filepath.Join(dir, treeName))
	if errors.Is(err, fs.ErrNotExist) {
		return "its tree is missing", nil
	}
	if err != nil {
		return "", err
	}
	defer root.Close()
	m, err := scan(ctx, root)
	if err != nil {
		return "", err
	}
	return m.difference(encoded)
}

// Collect removes all artifacts but those whose digests are in keep, and returns
// the digests of the removed in order. It goes on after an error with one; the
// rest of what it couldn't delete goes at the next [Open].
//
// An artifact that Put has just returned counts like any other: whoever calls
// Collect must know of it.
func (s *Store) Collect(ctx context.Context, keep map[string]bool) (removed []string, err error) {
	for digest := range keep {
		// A name that matches nothing would be a licence to remove what it was
		// meant to protect.
		if _, err := digestHex(digest); err != nil {
			return nil, fmt.Errorf("collect artifacts: to keep: %w", err)
		}
	}
	names, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("collect artifacts: %w", err)
	}
	var errs []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		digest := digestPrefix + strings.TrimPrefix(name, finalPrefix)
		if _, err := digestHex(digest); !strings.HasPrefix(name, finalPrefix) || err != nil || keep[digest] {
			continue
		}
		gone, err := s.remove(name)
		if gone {
			removed = append(removed, digest)
		}
		errs = append(errs, err)
	}
	slices.Sort(removed)
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("collect artifacts in %s: %w", s.dir, err)
	}
	return removed, nil
}

// remove takes a final name away and then deletes what had it; gone says whether
// it got as far as that the artifact isn't there any more.
func (s *Store) remove(name string) (gone bool, err error) {
	s.naming.Lock()
	away, err := s.renameAway(name)
	s.naming.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		// Another Collect was faster.
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(syncPath(s.dir), removeTree(away))
}

// renameAway takes a final name away from its directory and returns the path
// that the directory has from then on. The caller holds s.naming.
func (s *Store) renameAway(name string) (string, error) {
	away := filepath.Join(s.dir, gonePrefix+rand.Text())
	return away, os.Rename(filepath.Join(s.dir, name), away)
}
