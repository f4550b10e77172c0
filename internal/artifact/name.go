package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// maxPath bounds the length of a path in an artifact, and by that how deep
// directories nest: far below the limit of the system, 4096, which the store's
// own path counts against too.
const maxPath = 1024

// checkPath refuses a path that isn't a plain one inside of the artifact.
func checkPath(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: an entry has no name", ErrRefused)
	case len(name) > maxPath:
		return fmt.Errorf("%w: the path %.60q… is %d bytes long, the limit is %d", ErrRefused, name, len(name), maxPath)
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("%w: %q is an absolute path; paths are relative to the artifact", ErrRefused, name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return fmt.Errorf("%w: %q leads out of the artifact", ErrRefused, name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name %q is not UTF-8; rename it", ErrRefused, name)
	case hasControl(name):
		return fmt.Errorf("%w: %q has a control character in its name; rename it", ErrRefused, name)
	}
	return nil
}

// checkLink refuses a symbolic link whose text alone shows that it leads out of
// the artifact. What only the tree shows, [checkResolves] finds.
func checkLink(name, target string) error {
	switch {
	case target == "" || len(target) > maxPath || hasControl(target):
		return fmt.Errorf("%w: the symbolic link %q has the target %.60q, which is empty, longer than %d bytes, or has a control character in it", ErrRefused, name, target, maxPath)
	case path.IsAbs(target):
		return fmt.Errorf("%w: the symbolic link %q points to the absolute path %q; make it relative, to something in the artifact", ErrRefused, name, target)
	case !isInside(path.Join(path.Dir(name), target)):
		return fmt.Errorf("%w: the symbolic link %q points to %q, outside of the artifact; copy what it points to, or leave it out by a line in %s", ErrRefused, name, target, ignoreFile)
	}
	return nil
}

func isInside(clean string) bool {
	return clean != ".." && !strings.HasPrefix(clean, "../")
}

// checkResolves follows the symbolic link at name as the system would and
// refuses it when that leads out of root by way of other links. A link to what
// isn't there is fine: it leads nowhere.
func checkResolves(root *os.Root, name string) error {
	_, err := root.Stat(name)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%w: the symbolic link %q leads through too many others, or in a circle", ErrRefused, name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("follow the symbolic link %q: %w", name, err)
	}
	return fmt.Errorf("%w: the symbolic link %q leads out of the artifact by way of other links (%w)", ErrRefused, name, err)
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
