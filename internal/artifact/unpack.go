package artifact

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// unpacker writes the entries of a tar stream below root, and trusts none of
// them. That root can't be left is held twice: by the checks here, which say
// what is wrong, and by [os.Root].
type unpacker struct {
	root       *os.Root
	maxBytes   int64
	maxEntries int

	bytes   int64
	entries map[string]entry
	// implied holds the directories that exist because something is in them
	// and that the stream hasn't named.
	implied map[string]bool
	// headers counts what the stream had, including what makes no entry.
	headers int
}

func newUnpacker(root *os.Root, maxBytes int64, maxEntries int) *unpacker {
	return &unpacker{
		root:       root,
		maxBytes:   maxBytes,
		maxEntries: maxEntries,
		entries:    map[string]entry{},
		implied:    map[string]bool{},
	}
}

func (u *unpacker) unpack(ctx context.Context, r io.Reader) (manifest, error) {
	in := &stream{r: contextReader{ctx, r}}
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		switch {
		case err == io.EOF && !in.ended:
			return u.finish()
		case in.err != nil:
			return nil, in.err
		case in.ended:
			return nil, fmt.Errorf("%w: the tar stream is cut off before its end mark, after %d entries; send it again", ErrRefused, u.headers)
		case err != nil:
			return nil, fmt.Errorf("%w: this is no sound, uncompressed tar stream (after %d entries: %w)", ErrRefused, u.headers, err)
		}
		if err := u.add(h, t); err != nil {
			return nil, in.blame(err)
		}
	}
}

// stream remembers how reading went, which the tar reader doesn't tell: for it a
// stream that is cut between two entries ends like any other.
type stream struct {
	r     io.Reader
	ended bool
	err   error
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	switch {
	case err == io.EOF && n > 0:
		// The end only counts if somebody wants to read more.
		return n, nil
	case err == io.EOF:
		s.ended = true
	case err != nil:
		s.err = err
	}
	return n, err
}

// blame returns the error of reading the stream if there was one, for then err
// only follows from it.
func (s *stream) blame(err error) error {
	switch {
	case s.err != nil:
		return s.err
	case s.ended:
		return fmt.Errorf("%w: the tar stream is cut off in the middle of a file; send it again (%w)", ErrRefused, err)
	}
	return err
}

func (u *unpacker) add(h *tar.Header, content io.Reader) error {
	u.headers++
	if u.headers > u.maxEntries {
		return u.tooMany()
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := checkPath(h.Name); err != nil {
		return err
	}
	e := entry{path: path.Clean(h.Name)}
	if e.path == "." {
		return checkTop(h)
	}
	if err := u.makeRoomFor(e.path, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.addDirectory(e)
	case tar.TypeReg:
		e.executable = isExecutable(h.FileInfo().Mode())
		return u.addFile(e, h.Size, content)
	case tar.TypeSymlink:
		return u.addLink(e, h.Linkname)
	}
	return fmt.Errorf("%w: %q is a %s; an artifact holds directories, regular files and symbolic links only", ErrRefused, e.path, typeName(h.Typeflag))
}

// checkTop refuses an entry for the tree itself that isn't a directory.
func checkTop(h *tar.Header) error {
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	return fmt.Errorf("%w: %q is the artifact itself and no directory", ErrRefused, h.Name)
}

func typeName(flag byte) string {
	switch flag {
	case tar.TypeLink:
		return "hard link"
	case tar.TypeChar, tar.TypeBlock:
		return "device"
	case tar.TypeFifo:
		return "named pipe"
	}
	return fmt.Sprintf("tar entry of type %q", flag)
}

// makeRoomFor sees to it that name's parents are directories and that nothing
// has the name, apart from a directory that is implied.
func (u *unpacker) makeRoomFor(name string, isDir bool) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		parent := name[:i]
		switch e, ok := u.entries[parent]; {
		case !ok:
			if err := u.addDirectory(entry{path: parent}); err != nil {
				return err
			}
			u.implied[parent] = true
		case e.kind == symlink:
			return fmt.Errorf("%w: %q goes through the symbolic link %q", ErrRefused, name, parent)
		case e.kind != directory:
			return fmt.Errorf("%w: %q is inside of %q, which is a file", ErrRefused, name, parent)
		}
	}
	if _, ok := u.entries[name]; ok && (!isDir || !u.implied[name]) {
		return fmt.Errorf("%w: two entries have the path %q", ErrRefused, name)
	}
	return nil
}

func (u *unpacker) record(e entry) error {
	u.entries[e.path] = e
	if len(u.entries) > u.maxEntries {
		return u.tooMany()
	}
	return nil
}

func (u *unpacker) tooMany() error {
	return fmt.Errorf("%w: it has more than %d files, directories and links, the limit of this store; leave some out by lines in %s", ErrTooLarge, u.maxEntries, ignoreFile)
}

func (u *unpacker) addDirectory(e entry) error {
	if u.implied[e.path] {
		delete(u.implied, e.path)
		return nil
	}
	e.kind = directory
	if err := u.root.Mkdir(e.path, 0o700); err != nil {
		return err
	}
	return u.record(e)
}

func (u *unpacker) addFile(e entry, size int64, content io.Reader) error {
	if size > u.maxBytes-u.bytes {
		return fmt.Errorf("%w: with %q (%d bytes) its files have more than %d bytes, the limit of this store; leave some out by lines in %s, or raise the limit", ErrTooLarge, e.path, size, u.maxBytes, ignoreFile)
	}
	u.bytes += size
	e.kind, e.size = regular, size
	// The owner alone may read it until it has its mode, below.
	f, err := u.root.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), content)
	err = errors.Join(err, f.Chmod(storedMode(e.executable)), f.Close())
	if err != nil {
		return fmt.Errorf("unpack %q: %w", e.path, err)
	}
	e.sum = hexSum(h)
	return u.record(e)
}

func (u *unpacker) addLink(e entry, target string) error {
	e.kind, e.target = symlink, target
	if err := checkLink(e.path, target); err != nil {
		return err
	}
	if err := u.root.Symlink(target, e.path); err != nil {
		return err
	}
	return u.record(e)
}

// finish checks what only the whole tree can show.
func (u *unpacker) finish() (manifest, error) {
	m := make(manifest, 0, len(u.entries))
	for _, e := range u.entries {
		if e.kind == symlink {
			if err := checkResolves(u.root, e.path); err != nil {
				return nil, err
			}
		}
		m = append(m, e)
	}
	return m, nil
}
