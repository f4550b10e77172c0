package artifact

import (
	"strings"
	"testing"
)

func TestIgnore(t *testing.T) {
	for _, c := range []struct {
		lines string
		// in and out are paths that are packed and that aren't; a slash at the
		// end marks a directory.
		in, out string
	}{
		{"", "a a/b .gitignore .github/", ".git/ a/.git/ a/.git .segueignore"},
		{"# comment\n\n   \n", "comment #", ""},
		{"*.log", "a log.txt", "a.log d/b.log d/e/.log"},
		{"tmp", "tmpx a/xtmp", "tmp tmp/ a/tmp/"},
		{"tmp/", "tmp a/tmp", "tmp/ a/tmp/"},
		{"/tmp", "a/tmp", "tmp"},
		{"a/b", "b x/a/b a/b/c", "a/b"},
		{"a/*", "a a/b/c", "a/b"},
		{"a/**", "a b/a/c", "a/b a/b/c"},
		{"**/a", "b/ab", "a b/a b/c/a/"},
		{"a/**/z", "a z a/y", "a/z a/b/z a/b/c/z"},
		{"*.log\n!keep.log", "keep.log d/keep.log", "a.log"},
		{"!keep.log\n*.log", "", "keep.log a.log"},
		{"*\n!/bin/", "bin/", "a bin x/"},
		{"a?c\n[x-z]1", "ac a/c w1", "abc y1 d/z1"},
		{`\#a` + "\n" + `\!b` + "\n" + `c\*`, "cc", "#a !b c*"},
		{"trailing  \t\r\n", "", "trailing"},
		{"!.git\n!.segueignore", "", ".git/ .segueignore"},
	} {
		rules, err := parseIgnore(c.lines)
		if err != nil {
			t.Errorf("%q: %v", c.lines, err)
			continue
		}
		check := func(paths string, want bool) {
			for _, p := range strings.Fields(paths) {
				name, isDir := strings.CutSuffix(p, "/")
				if got := rules.leavesOut(name, isDir); got != want {
					t.Errorf("%q leaves out %q: %v, want %v", c.lines, p, got, want)
				}
			}
		}
		check(c.in, false)
		check(c.out, true)
	}
}

func TestIgnoreRefusesWhatIsNoPattern(t *testing.T) {
	for _, line := range []string{"[a", "/", "!", "a//b", `a\`, "!/"} {
		_, err := parseIgnore("ok\n" + line + "\n")
		if err == nil || !strings.Contains(err.Error(), ".segueignore, line 2") {
			t.Errorf("%q: %v", line, err)
		}
	}
}
