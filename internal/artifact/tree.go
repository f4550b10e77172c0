package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// storedDirMode is the mode of directories in a store.
const storedDirMode fs.FileMode = 0o555

// scan returns the manifest of the tree in root, and reads all of it.
func scan(ctx context.Context, root *os.Root) (manifest, error) {
	var m manifest
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." {
			return err
		}
		e, err := scanEntry(ctx, root, name, d.Type())
		m = append(m, e)
		return err
	})
	return m, err
}

func scanEntry(ctx context.Context, root *os.Root, name string, t fs.FileMode) (entry, error) {
	e := entry{path: name}
	var err error
	switch {
	case t.IsDir():
		e.kind = directory
	case t.IsRegular():
		err = scanFile(ctx, root, &e)
	case t&fs.ModeSymlink != 0:
		e.kind = symlink
		e.target, err = root.Readlink(name)
	default:
		e.kind = special
	}
	return e, err
}

func scanFile(ctx context.Context, root *os.Root, e *entry) error {
	e.kind = regular
	f, err := openRegular(root, e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	e.executable = isExecutable(info.Mode())
	h := sha256.New()
	e.size, err = io.Copy(h, contextReader{ctx, f})
	e.sum = hexSum(h)
	return err
}

// openRegular opens a file for reading and, should it have become a symbolic
// link or a pipe since somebody looked, neither follows the one nor waits for
// the other.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file any more", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func hexSum(h hash.Hash) string {
	return hex.EncodeToString(h.Sum(nil))
}

// contextReader is a reader that ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// syncAll makes everything under dir, and dir, durable. It goes over a tree that
// is written whole: the first sync takes most of it to the disk at once, where
// a sync after each file would wait for each.
func syncAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return syncPath(name)
	})
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// removeTree removes dir and all in it, read-only directories as well.
func removeTree(dir string) error {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return os.Chmod(name, 0o700)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}
