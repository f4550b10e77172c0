package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Put unpacks an uncompressed tar stream into the store and returns what it
// holds once that is safe on the disk. If the same artifact is there already, it
// stays, unless it is damaged: then the new copy takes its place.
//
// It fails with [ErrRefused] when the stream holds anything else than
// directories, regular files and symbolic links that stay inside, when two
// entries have the same path, or when it ends before its end mark; with
// [ErrTooLarge] as soon as a limit of the store is passed. Then, as after any
// other error, nothing of it stays in the store.
func (s *Store) Put(ctx context.Context, tar io.Reader) (Artifact, error) {
	a, err := s.put(ctx, tar)
	if errors.Is(err, syscall.ENOSPC) {
		return Artifact{}, fmt.Errorf("store artifact: %w; make room in %s and try again", err, s.dir)
	}
	if err != nil {
		return Artifact{}, fmt.Errorf("store artifact: %w", err)
	}
	return a, nil
}

func (s *Store) put(ctx context.Context, tar io.Reader) (a Artifact, err error) {
	temp, err := os.MkdirTemp(s.dir, putPrefix)
	if err != nil {
		return Artifact{}, err
	}
	defer func() {
		// Nothing has this name any more if all went well.
		err = errors.Join(err, removeTree(temp))
	}()
	m, err := s.unpackInto(ctx, filepath.Join(temp, treeName), tar)
	if err != nil {
		return Artifact{}, err
	}
	if err := seal(temp, m); err != nil {
		return Artifact{}, err
	}
	a = m.artifact()
	return a, s.place(ctx, temp, a.Digest)
}

func (s *Store) unpackInto(ctx context.Context, dir string, tar io.Reader) (manifest, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := newUnpacker(root, s.maxBytes, s.maxEntries)
	return u.unpack(ctx, tar)
}

// seal adds the manifest, closes the directories for writing, and makes all of
// it durable.
func seal(temp string, m manifest) error {
	if err := os.WriteFile(filepath.Join(temp, manifestName), m.encode(), 0o400); err != nil {
		return err
	}
	tree := filepath.Join(temp, treeName)
	dirs := []string{tree, temp}
	for _, e := range m {
		if e.kind == directory {
			dirs = append(dirs, filepath.Join(tree, e.path))
		}
	}
	for _, dir := range dirs {
		if err := os.Chmod(dir, storedDirMode); err != nil {
			return err
		}
	}
	return syncAll(temp)
}

// place gives the sealed directory its final name, if no sound one has it.
func (s *Store) place(ctx context.Context, temp, digest string) error {
	name := finalPrefix + strings.TrimPrefix(digest, digestPrefix)
	final := filepath.Join(s.dir, name)
	s.naming.Lock()
	defer s.naming.Unlock()
	_, err := os.Lstat(final)
	switch {
	case err == nil:
		difference, err := compare(ctx, final, digest)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && difference == "" {
			// Whoever put it there may have died before the name was durable.
			return syncPath(s.dir)
		}
		damaged, err := s.renameAway(name)
		if err != nil {
			return err
		}
		// What can't be deleted now goes at the next Open.
		// What is left of it is removed by the next Open.
		defer func() { _ = removeTree(damaged) }()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return syncPath(s.dir)
}
