package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ignoreFile, in the directory that is packed, says what of it isn't. It isn't
// packed either: a change of it that leaves out nothing else makes the same
// artifact.
const ignoreFile = ".segueignore"

// gitDir is never packed, wherever it is: the history of a release is not part
// of it, and may hold what must not leave the machine.
const gitDir = ".git"

// ignoreRules is a parsed ignore file. Its lines are those of a .gitignore file
// (https://git-scm.com/docs/gitignore):
//
//   - An empty line, or one that begins with #, says nothing; spaces at the end
//     don't count. A backslash takes its meaning from the character behind it.
//   - A pattern with a slash at its beginning or in it is relative to the
//     directory that is packed; any other matches a name at any depth.
//   - A slash at its end restricts it to directories.
//   - *, ? and [a-z] match as in [path.Match], never a slash; ** as a whole
//     segment matches any number of them.
//   - A ! before it takes back what an earlier line left out; of several lines
//     that match, the last one decides. Nothing in a directory that is left out
//     can be taken back.
//
// Only the file in the directory that is packed counts, none further down.
type ignoreRules []ignoreRule

type ignoreRule struct {
	segments []string
	onlyDirs bool
	takeBack bool
}

// readIgnore reads the ignore file in root; without one nothing is left out.
func readIgnore(root *os.Root) (ignoreRules, error) {
	text, err := root.ReadFile(ignoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseIgnore(string(text))
}

func parseIgnore(text string) (ignoreRules, error) {
	var rules ignoreRules
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		rule, err := parseIgnoreRule(line)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %q: %w", ignoreFile, number, line, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func parseIgnoreRule(line string) (ignoreRule, error) {
	var r ignoreRule
	line, r.takeBack = strings.CutPrefix(line, "!")
	line, r.onlyDirs = strings.CutSuffix(line, "/")
	if line == "" {
		return r, errors.New("there is no pattern in it")
	}
	if !strings.Contains(line, "/") {
		line = anyDepth + "/" + line
	}
	r.segments = strings.Split(strings.TrimPrefix(line, "/"), "/")
	for _, segment := range r.segments {
		if _, err := path.Match(segment, ""); err != nil || segment == "" {
			return r, fmt.Errorf("%q is no pattern for a name", segment)
		}
	}
	return r, nil
}

// leavesOut reports whether the path, whose parents aren't left out, is.
func (rules ignoreRules) leavesOut(name string, isDir bool) bool {
	if name == ignoreFile || path.Base(name) == gitDir {
		return true
	}
	segments := strings.Split(name, "/")
	for i := len(rules) - 1; i >= 0; i-- {
		r := rules[i]
		if (isDir || !r.onlyDirs) && matchSegments(r.segments, segments) {
			return !r.takeBack
		}
	}
	return false
}

// anyDepth is the segment of a pattern that matches any number of segments, but
// at least one where it stands last.
const anyDepth = "**"

func matchSegments(pattern, name []string) bool {
	if len(pattern) == 0 || len(name) == 0 {
		return len(pattern) == len(name)
	}
	if pattern[0] == anyDepth {
		return len(pattern) == 1 || matchSegments(pattern[1:], name) || matchSegments(pattern, name[1:])
	}
	// The pattern was checked when it was parsed.
	ok, _ := path.Match(pattern[0], name[0])
	return ok && matchSegments(pattern[1:], name[1:])
}
