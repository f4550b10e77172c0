package spec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Load reads the spec in the file at path and the env file that it names. The
// result is complete and valid; an error is an [Error].
func Load(path string) (*Spec, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	s, d, err := parseFile(path, data)
	if err != nil {
		return nil, err
	}
	if s.EnvFile != "" {
		if err := s.addEnvFile(path, d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Parse reads a spec from data; file is its name in errors. The result is
// complete and valid, but for an env file, which only [Load] reads: EnvFile
// still names it. An error is an [Error].
func Parse(file string, data []byte) (*Spec, error) {
	s, _, err := parseFile(file, data)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parseFile also returns the decoder, which knows the place of each field.
func parseFile(file string, data []byte) (*Spec, *decoder, error) {
	doc, err := readDocument(file, data)
	if err != nil {
		return nil, nil, err
	}
	d := &decoder{doc: doc, places: map[string]place{"": doc.start}}
	s := Default()
	if err := d.mapping(doc.root, reflect.ValueOf(s).Elem(), ""); err != nil {
		return nil, nil, err
	}
	s.settle(d.gives)
	s.normalize()
	if problems := check(s); len(problems) > 0 {
		return nil, nil, d.firstOf(problems)
	}
	return s, d, nil
}

// gives says whether the document gives the field, if only with nothing as its
// value.
func (d *decoder) gives(path string) bool {
	_, given := d.places[path]
	return given
}

// firstOf returns the problem that stands first in the document.
func (d *decoder) firstOf(problems []problem) *Error {
	first := slices.MinFunc(problems, func(a, b problem) int {
		return d.placeOf(a.field).line - d.placeOf(b.field).line
	})
	return d.doc.errorAt(d.placeOf(first.field), first.field, first.message, first.hint)
}

// placeOf returns the place of a field, or of the nearest mapping or list
// around it that is in the document.
func (d *decoder) placeOf(path string) place {
	for {
		if at, ok := d.places[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// Validate says what is wrong with a spec that didn't come from [Load] or
// [Parse], which have done so already. An error is an [Error] without file and
// line.
func (s *Spec) Validate() error {
	if problems := check(s); len(problems) > 0 {
		p := problems[0]
		return &Error{Field: p.field, Message: p.message, Hint: p.hint}
	}
	return nil
}

// readFile reads a regular file of at most maxBytes. Anything else, a pipe say,
// could keep its reader waiting.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Error{File: path, Message: "there is no such file", Hint: "segue init writes one", cause: err}
	case err != nil:
		return nil, unreadable(path, err)
	case info.IsDir():
		return nil, &Error{File: path, Message: "is a directory", Hint: "name the file in it: " + filepath.Join(path, "segue.yaml")}
	case !info.Mode().IsRegular():
		return nil, &Error{File: path, Message: "is not a regular file", Hint: "copy its content to a file and name that"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > maxBytes {
		return nil, tooLarge(path)
	}
	return data, nil
}

func unreadable(path string, err error) *Error {
	e := &Error{File: path, Message: fmt.Sprintf("can't be read: %v", withoutPath(err)), cause: err}
	if errors.Is(err, fs.ErrPermission) {
		e.Hint = "give the user who runs segue the right to read it"
	}
	return e
}

// withoutPath returns the system's part of a file error; the path is said
// already.
func withoutPath(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// addEnvFile adds the variables of the env file to Env and forgets the file.
func (s *Spec) addEnvFile(path string, d *decoder) error {
	file := s.EnvFile
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(path), file)
	}
	data, err := readFile(file)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			at := d.doc.errorAt(d.placeOf("env_file"), "env_file", fmt.Sprintf("env_file %s %s", file, e.Message), "env_file is relative to the spec's file")
			at.cause = e.cause
			return at
		}
		return err
	}
	variables, err := parseEnvFile(file, data, s.Listen)
	if err != nil {
		return err
	}
	for name, value := range s.Env {
		variables[name] = value
	}
	s.Env, s.EnvFile = variables, ""
	s.normalize()
	return nil
}
