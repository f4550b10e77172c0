package spec

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// parseEnvFile reads the lines of an env file:
//
//	# a comment
//	NAME=value with spaces
//	export NAME="in double quotes, ${NAME} and $$ as in env"
//	NAME='in single quotes, all literal'
//
// There are no other escapes; a value ends with its line. An error is an
// [Error] with the file's own line.
func parseEnvFile(file string, data []byte, listen Listen) (map[string]string, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	doc := &document{file: file, lines: strings.Split(string(data), "\n")}
	if err := doc.checkText(); err != nil {
		return nil, envFileError(doc, err.Line, &flaw{err.Message, err.Hint})
	}
	variables, first := map[string]string{}, map[string]int{}
	for i, line := range doc.lines {
		fail := func(f *flaw) error {
			return envFileError(doc, i+1, f)
		}
		name, value, f := parseEnvLine(line)
		if f != nil {
			return nil, fail(f)
		}
		if name == "" {
			continue
		}
		if f := checkEnvName(name, listen); f != nil {
			return nil, fail(&flaw{name + " " + f.message, f.hint})
		}
		if f := checkEnvValue(value); f != nil {
			return nil, fail(&flaw{name + " " + f.message, f.hint})
		}
		if first[name] > 0 {
			return nil, fail(&flaw{fmt.Sprintf("%s is given twice: first in line %d", name, first[name]), "remove one of them"})
		}
		variables[name], first[name] = value, i+1
	}
	return variables, nil
}

// envFileError returns an error about a line. It shows the line's name alone:
// values are secrets, and messages end up in the logs of CI systems.
func envFileError(doc *document, line int, f *flaw) *Error {
	e := doc.errorAt(place{line, 1}, "env_file", f.message, f.hint)
	name, _, found := strings.Cut(e.Source, "=")
	e.Source = ""
	if found {
		e.Source = name + "=…"
		e.Column = utf8.RuneCountInString(name) - utf8.RuneCountInString(strings.TrimLeft(name, " \t")) + 1
	}
	return e
}

// parseEnvLine returns the variable of a line, in the spelling of env; the name
// is empty when the line has none.
func parseEnvLine(line string) (name, value string, f *flaw) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return "", "", nil
	}
	if rest, ok := strings.CutPrefix(line, "export"); ok && strings.IndexAny(rest, " \t") == 0 {
		line = strings.TrimLeft(rest, " \t")
	}
	name, value, found := strings.Cut(line, "=")
	if !found {
		return "", "", &flaw{"the line has no =", "write NAME=value, or start a comment with #"}
	}
	if name == "" || name != strings.TrimSpace(name) {
		return "", "", &flaw{"the line has no name right before its =", "write NAME=value, without a space before the ="}
	}
	value, f = parseEnvText(strings.TrimLeft(value, " \t"))
	return name, value, f
}

// parseEnvText takes the quotes off a value.
func parseEnvText(text string) (string, *flaw) {
	if text == "" || text[0] != '"' && text[0] != '\'' {
		if strings.Contains(text, " #") || strings.Contains(text, "\t#") {
			return "", &flaw{"the value has a # after a space, which could start a comment", "put the value in quotes, or the comment on a line of its own"}
		}
		return text, nil
	}
	quote := text[:1]
	value, rest, closed := strings.Cut(text[1:], quote)
	rest = strings.TrimSpace(rest)
	switch {
	case !closed:
		return "", &flaw{"the value has no closing " + quote, "a value ends on its line; put one that starts with a quote in quotes of the other kind"}
	case rest != "" && !strings.HasPrefix(rest, "#"):
		return "", &flaw{"there is text after the closing " + quote, "put a value with such quotes in it in quotes of the other kind"}
	}
	if quote == "'" {
		value = strings.ReplaceAll(value, "$", "$$")
	}
	return value, nil
}
