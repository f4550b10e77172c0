package spec

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is the first thing that is wrong with a file, with its place. The file
// is segue.yaml, or its env file.
type Error struct {
	File string `json:"file,omitempty"`
	// Line and Column count from 1, Column in characters; both are 0 when the
	// error is about the file as a whole, or the spec didn't come from a file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Source is that line, without its end.
	Source string `json:"source,omitempty"`
	// Field is the path of the field in question, like "health.http.path" or
	// "command[2]"; empty when it is none's.
	Field string `json:"field,omitempty"`
	// Message says what is wrong, Hint what to do; Hint may be empty.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	cause error
}

// Error returns a few lines for a person: place and message, the line itself
// with a caret below the place, and the hint.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	b.WriteString(e.Message)
	if e.Line > 0 && strings.TrimSpace(e.Source) != "" {
		number := fmt.Sprintf("%5d", e.Line)
		line, caret := excerpt(e.Source, e.Column)
		fmt.Fprintf(&b, "\n%s | %s", number, line)
		fmt.Fprintf(&b, "\n%s | %s^", strings.Repeat(" ", len(number)), caret)
	}
	if e.Hint != "" {
		b.WriteString("\n" + e.Hint)
	}
	return b.String()
}

// Unwrap returns what the operating system said when the file couldn't be read.
func (e *Error) Unwrap() error { return e.cause }

// excerptWidth is how many characters of a long line are shown.
const excerptWidth = 100

// excerpt returns the part of the line around column and the space before the
// caret. It lets no control character through: the line goes to a terminal.
func excerpt(source string, column int) (line, before string) {
	chars := []rune(source)
	at := min(max(column-1, 0), len(chars))
	start := 0
	if at >= excerptWidth {
		start = at - excerptWidth/2
	}
	end := min(len(chars), start+excerptWidth)

	var shown, space strings.Builder
	if start > 0 {
		shown.WriteString("…")
		space.WriteString(" ")
	}
	for i := start; i < end; i++ {
		char, blank := chars[i], ' '
		switch {
		case char == '\t':
			blank = '\t'
		case !unicode.IsPrint(char):
			char = unicode.ReplacementChar
		}
		shown.WriteRune(char)
		if i < at {
			space.WriteRune(blank)
		}
	}
	if end < len(chars) {
		shown.WriteString("…")
	}
	return shown.String(), space.String()
}

// flaw is what is wrong with a value, said by one who doesn't know which field
// it belongs to: its message goes on from the field's name.
type flaw struct{ message, hint string }

// Error returns message and hint in one line.
func (f *flaw) Error() string {
	if f.hint == "" {
		return f.message
	}
	return f.message + ": " + f.hint
}
