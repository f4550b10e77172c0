package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Pack writes the file or directory at path to w as an uncompressed tar stream
// for [Store.Put]. The same tree gives the same stream, byte for byte. A file
// becomes one entry with the last element of path as its name, a directory one for each thing in it; an
// empty path gives the empty artifact. A link at path itself is followed.
//
// In a directory a .segueignore file says what to leave out, in the manner of
// .gitignore; .git is always left out. A symbolic link is packed as such, and
// refused with [ErrRefused] when it is absolute or leads out of the directory;
// so are sockets, devices and pipes. A file that changes while it is packed is
// an error, for the artifact would be of no one moment.
func Pack(ctx context.Context, path string, w io.Writer) error {
	t := tar.NewWriter(w)
	if err := pack(ctx, path, t); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	// Without its end mark, written here, a stream counts as cut off.
	if err := t.Close(); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	return nil
}

func pack(ctx context.Context, path string, t *tar.Writer) error {
	if path == "" {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return err
	}
	dir := resolved
	if !info.IsDir() {
		dir = filepath.Dir(resolved)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	p := packer{ctx: ctx, root: root, out: t}
	if info.IsDir() {
		return p.addTree()
	}
	name := filepath.Base(path)
	if err := errors.Join(checkPath(name), checkPackable(name, info.Mode())); err != nil {
		return err
	}
	return p.addFile(filepath.Base(resolved), name)
}

type packer struct {
	ctx  context.Context
	root *os.Root
	out  *tar.Writer
}

func (p packer) addTree() error {
	rules, err := readIgnore(p.root)
	if err != nil {
		return err
	}
	return fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("%w; make it readable, or leave it out by a line in %s", err, ignoreFile)
		case name == ".":
			return nil
		case rules.leavesOut(name, d.IsDir()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return p.add(name, d.Type())
	})
}

func (p packer) add(name string, mode fs.FileMode) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if err := errors.Join(checkPath(name), checkPackable(name, mode)); err != nil {
		return err
	}
	switch {
	case mode.IsDir():
		return p.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(sentMode(true))})
	case mode.IsRegular():
		return p.addFile(name, name)
	}
	return p.addLink(name)
}

func checkPackable(name string, mode fs.FileMode) error {
	if mode.IsDir() || mode.IsRegular() || mode.Type() == fs.ModeSymlink {
		return nil
	}
	return fmt.Errorf("%w: %q is a socket, a device or a pipe (%v); leave it out by a line in %s", ErrRefused, name, mode.Type(), ignoreFile)
}

func (p packer) addLink(name string) error {
	target, err := p.root.Readlink(name)
	if err != nil {
		return err
	}
	if err := checkLink(name, target); err != nil {
		return err
	}
	if err := checkResolves(p.root, name); err != nil {
		return err
	}
	return p.out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: int64(sentMode(true))})
}

// addFile packs the file at source, relative to the root, under the given name.
func (p packer) addFile(source, name string) error {
	f, err := openRegular(p.root, source)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; make it readable, or leave it out by a line in %s", err, ignoreFile)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	err = p.out.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg,
		Name:     name,
		Mode:     int64(sentMode(isExecutable(before.Mode()))),
		Size:     before.Size(),
	})
	if err != nil {
		return err
	}
	if _, err := io.CopyN(p.out, contextReader{p.ctx, f}, before.Size()); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%q: %w", name, err)
	}
	return unchanged(f, name, before)
}

// unchanged fails if the file isn't at its end now, or isn't as it was before it
// was read.
func unchanged(f *os.File, name string, before fs.FileInfo) error {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if at != before.Size() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return fmt.Errorf("%q changed while it was packed (%d bytes before, %d after); wait until what writes it is done, or leave it out by a line in %s", name, before.Size(), after.Size(), ignoreFile)
	}
	return nil
}
