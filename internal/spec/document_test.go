package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestYAMLThatIsRefused(t *testing.T) {
	runBadCases(t, []badCase{
		{"tab", minimal + "health:\n\tinterval: 1s #!\n", "", "tab in the indentation", "spaces"},
		{"open bracket", "service: web\ncommand: [serve #!\n", "", "not valid YAML", ""},
		{"open quote", "service: \"web #!\n", "", "not valid YAML", ""},
		{"colon in value", "service: web: x #!\n", "", "not valid YAML", "quotes"},
		{"reserved character", "service: web\ncommand: [serve]\ndir: @here #!\n", "", "not valid YAML", "quotes"},
		{"anchor", "service: &a web #!\ncommand: [serve]\n", "", "anchor", "quote"},
		{"alias", "service: web\ncommand: *x #!\n", "", "alias", "quote"},
		{"host as alias", minimal + "route:\n  hosts:\n    - *.example.com #!\n", "", "alias", `"*.example.com"`},
		{"tag", "service: !!str web #!\ncommand: [serve]\n", "", "tag", "quote"},
		{"merge key", minimal + "health:\n  <<: {tcp: true} #!\n", "", "merge key", "write the fields out"},
		{"complex key", "? service #!\n: web\n", "", "complex key", ""},
		{"directive", "%YAML 1.2 #!\n---\nservice: web\n", "", "directive", ""},
		{"two documents", minimal + "--- #!\nservice: other\n", "", "second document", "file of its own"},
		{"list", "- service #!\n", "", "must be a mapping of fields, not a list", "service: NAME"},
		{"text", "service #!\n", "", "must be a mapping of fields, not a text", "service: NAME"},
		{"flow depth", "service: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + " #!\n", "", "nested too deeply", ""},
		{"sequence depth", "service: web\ncommand:\n " + strings.Repeat("- ", 60) + "#!\n", "", "nested too deeply", ""},
		{"indentation", "service: web\ncommand:\n" + strings.Repeat(" ", 101) + "- serve #!\n", "", "nested too deeply", ""},
		{"control character", "service: web\ncommand: [\"a\x1bb\"] #!\n", "", "control character U+001B", "escape"},
		{"not UTF-8", "service: web\ncommand: [\"\xff\"] #!\n", "", "UTF-8", ""},
	})
}

func TestEmptyFile(t *testing.T) {
	for _, text := range []string{"", "\n\n", "# nothing\n", "---\n", "--- \n# x\n", "null\n", "~", "\ufeff"} {
		e := mustFail(t, text)
		if !strings.Contains(e.Message, "empty") || !strings.Contains(e.Hint, "segue init") {
			t.Errorf("%q: got %v", text, e)
		}
	}
}

func TestFileWithOneDocumentInAnyDress(t *testing.T) {
	for _, text := range []string{
		"---\n" + minimal, minimal + "...\n", "# c\n---\n" + minimal, "\ufeff" + minimal,
		strings.ReplaceAll(minimal, "\n", "\r\n"), strings.ReplaceAll(minimal, "\n", "\r"), strings.TrimSpace(minimal),
		"{service: web, command: [serve]}", `{"service": "web", "command": ["serve"]}`,
	} {
		if s := mustParse(t, text); s.Service != "web" || len(s.Command) != 1 || s.Command[0] != "serve" {
			t.Errorf("%q: got %+v", text, s)
		}
	}
}

func TestLinesAreCountedWithAnyEnd(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r"} {
		text := strings.ReplaceAll("# c\n\nservice: web\n\n# c\ncommand: [serve]\nfoo: 1\n", "\n", end)
		if e := mustFail(t, text); e.Line != 7 || e.Source != "foo: 1" {
			t.Errorf("%q: got line %d, %q", end, e.Line, e.Source)
		}
	}
}

// The place must be right after everything that spans lines or holds wide
// characters; scanners lose count there.
func TestPlacesAfterMultiLineValues(t *testing.T) {
	for name, value := range map[string]string{
		"literal":          "|\n    a\n\n    b\n",
		"literal, kept":    "|+\n    a\n\n\n",
		"literal, comment": "| # c\n    a # no comment\n",
		"folded":           ">-\n    a\n    b\n\n    c\n",
		"plain":            "a\n    b\n    c\n",
		"double":           "\"a\n    b\n\n    c\"\n",
		"escaped":          "\"a\\n\\\n    b\"\n",
		"single":           "'a\n    b''\n    c'\n",
		"comments":         "a # c\n  # c\n# c\n\n",
		"wide":             "日本語\n",
		"indent given":     "|2\n    a\n",
	} {
		t.Run(name, func(t *testing.T) {
			before := minimal + "env:\n  A: " + value + "  BÄ日: [x] "
			e := mustFail(t, before+"\n")
			if want := strings.Count(before, "\n") + 1; e.Line != want || e.Source != "  BÄ日: [x] " || e.Column != 8 {
				t.Errorf("line %d, want %d; column %d\n%v", e.Line, want, e.Column, e)
			}
		})
	}
}

func TestTooLargeFile(t *testing.T) {
	comment := "#" + strings.Repeat("x", 99) + "\n"
	e := mustFail(t, minimal+strings.Repeat(comment, maxBytes/100))
	if !strings.Contains(e.Message, "larger than 1MiB") {
		t.Errorf("got %v", e)
	}
	mustParse(t, minimal+strings.Repeat(comment, maxBytes/len(comment)-1))
}

// What the parser takes long for, or what could exhaust its stack, is refused
// before it runs. The deadline is a net: unbounded, these take minutes or end
// the process.
func TestHostileFilesAreRefusedInTime(t *testing.T) {
	const size = maxBytes / 4
	var keys, laughs strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&keys, "k%d: v\n", i)
	}
	laughs.WriteString("a0: &a0 [x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&laughs, "a%d: &a%d [*a%d, *a%d]\n", i+1, i+1, i, i)
	}
	for name, text := range map[string]string{
		"keys": keys.String(), "laughs": laughs.String(),
		"brackets": strings.Repeat("[", size), "braces": strings.Repeat("{a: ", size/4), "dashes": strings.Repeat("- ", size/2),
		"lines of brackets": strings.Repeat("[\n", size/2), "questions": strings.Repeat("? ", size/2),
		"colons": strings.Repeat("a: ", size/3), "quotes": strings.Repeat(`"" `, size/3),
		"entries": "command: [" + strings.Repeat("a,", size/2-10) + "]",
		"stairs":  stairs(1000),
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan *Error, 1)
			go func() {
				_, err := Parse("segue.yaml", []byte(text))
				var e *Error
				errors.As(err, &e)
				done <- e
			}()
			select {
			case e := <-done:
				if e == nil {
					t.Error("parsed, or no *Error")
				} else if len(e.Error()) > 2000 {
					t.Errorf("the message has %d bytes", len(e.Error()))
				}
			case <-time.After(time.Minute):
				t.Fatal("still parsing after a minute")
			}
		})
	}
}

// stairs nests n mappings, each one column further in.
func stairs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
