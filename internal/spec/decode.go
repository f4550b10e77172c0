package spec

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// field is one field of a struct type, as segue.yaml knows it.
type field struct {
	name  string
	index int
	// choice is true for the fields of which a mapping gives one.
	choice bool
}

// fieldsOf returns the fields of a struct type in their order.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		choice := t.Field(i).Tag.Get("spec") == "choice"
		fields = append(fields, field{name: name, index: i, choice: choice})
	}
	return fields
}

// names returns the names of those fields for which keep is true.
func names(fields []field, keep func(field) bool) []string {
	var list []string
	for _, f := range fields {
		if keep(f) {
			list = append(list, f.name)
		}
	}
	return list
}

func anyField(field) bool      { return true }
func choiceField(f field) bool { return f.choice }

// decoder writes a document's tree over a Go value that holds the defaults.
type decoder struct {
	doc *document
	// places holds where each given field's value stands, or its key where the
	// value is nothing; by path.
	places map[string]place
}

// mapping decodes n into the struct dst. Path is the path of n, empty for the
// root.
func (d *decoder) mapping(n ast.MapNode, dst reflect.Value, path string) *Error {
	fields := fieldsOf(dst.Type())
	entries, err := d.entries(n, path)
	if err != nil {
		return err
	}
	dropDefaultChoice(dst, fields, entries)
	for _, e := range entries {
		i := indexOf(fields, e.name)
		if i < 0 {
			return d.unknownField(e, dst.Type(), path)
		}
		if err := d.value(e.value, dst.Field(fields[i].index), e.path); err != nil {
			return err
		}
	}
	return nil
}

// dropDefaultChoice clears the choice that the defaults made when the mapping
// makes one of its own.
func dropDefaultChoice(dst reflect.Value, fields []field, entries []entry) {
	chosen := false
	for _, e := range entries {
		i := indexOf(fields, e.name)
		chosen = chosen || i >= 0 && fields[i].choice
	}
	for _, f := range fields {
		if chosen && f.choice {
			dst.Field(f.index).SetZero()
		}
	}
}

func indexOf(fields []field, name string) int {
	for i, f := range fields {
		if f.name == name {
			return i
		}
	}
	return -1
}

// entry is one key and value of a mapping.
type entry struct {
	name, path string
	key        place
	value      ast.Node
}

// entries returns the entries of n in their order and notes their places; a key
// that is given twice is an error.
func (d *decoder) entries(n ast.MapNode, path string) ([]entry, *Error) {
	var list []entry
	first := map[string]int{}
	for i := n.MapRange(); i.Next(); {
		name := i.Key().GetToken().Value
		e := entry{name: name, path: join(path, name), key: placeOf(i.Key()), value: i.Value()}
		if line, twice := first[name]; twice {
			message := fmt.Sprintf("%s is given twice: first in line %d", e.path, line)
			return nil, d.doc.errorAt(e.key, e.path, message, "remove one of them")
		}
		first[name] = e.key.line
		d.places[e.path] = e.key
		if !isNull(e.value) {
			d.places[e.path] = placeOf(e.value)
		}
		list = append(list, e)
	}
	return list, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (d *decoder) unknownField(e entry, t reflect.Type, path string) *Error {
	known := names(fieldsOf(t), anyField)
	message, hint := fmt.Sprintf("unknown field %q", e.name), "the fields here are "+strings.Join(known, ", ")
	if path == "strategy" {
		message, hint = fmt.Sprintf("unknown strategy %q", e.name), "known: "+strings.Join(known, ", ")
	}
	if near := nearest(e.name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if below, ok := parentOf(t, e.name, path); ok {
		hint = fmt.Sprintf("it belongs under %q", below)
	} else if elsewhere, ok := parentOf(reflect.TypeFor[Spec](), e.name, ""); ok && elsewhere != "" {
		hint = fmt.Sprintf("it belongs under %q", elsewhere)
	} else if ok {
		hint = "it belongs at the top of the file, outside of all others"
	}
	return d.doc.errorAt(e.key, e.path, message, hint)
}

// parentOf returns the path of the first mapping that has a field of that name,
// among t, whose own path is given, and those below.
func parentOf(t reflect.Type, name, path string) (parent string, ok bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return "", false
	}
	fields := fieldsOf(t)
	if indexOf(fields, name) >= 0 {
		return path, true
	}
	for _, f := range fields {
		if parent, ok := parentOf(t.Field(f.index).Type, name, join(path, f.name)); ok {
			return parent, true
		}
	}
	return "", false
}

// value decodes n into dst by dst's type.
func (d *decoder) value(n ast.Node, dst reflect.Value, path string) *Error {
	if _, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return d.text(n, dst, path)
	}
	switch dst.Kind() {
	case reflect.Pointer:
		dst.Set(reflect.New(dst.Type().Elem()))
		dst.Elem().Set(defaultOf(dst.Type().Elem()))
		return d.value(n, dst.Elem(), path)
	case reflect.Struct:
		return d.structure(n, dst, path)
	case reflect.Slice:
		return d.list(n, dst, path)
	case reflect.Map:
		return d.variables(n, dst, path)
	}
	return d.scalar(n, dst, path)
}

// structure decodes a mapping; nothing is an empty one, so that "blue-green:"
// alone asks for its defaults.
func (d *decoder) structure(n ast.Node, dst reflect.Value, path string) *Error {
	if isNull(n) {
		return nil
	}
	m, ok := n.(ast.MapNode)
	if ok {
		return d.mapping(m, dst, path)
	}
	if i := shortOf(dst.Type()); i >= 0 && isScalar(n) {
		return d.value(n, dst.Field(i), path)
	}
	return d.word(n, dst, path)
}

// shortOf returns the index of the field whose value may stand for the whole; -1 is none.
func shortOf(t reflect.Type) int {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("spec") == "short" {
			return i
		}
	}
	return -1
}

// word decodes one word in place of a mapping that is a choice: "canary" is
// "canary: {}", where that has fields of its own.
func (d *decoder) word(n ast.Node, dst reflect.Value, path string) *Error {
	fields, word := fieldsOf(dst.Type()), scalarText(n)
	known := names(fields, anyField)
	words := wordsOf(dst.Type())
	if slices.Contains(words, word) {
		for _, f := range fields {
			dst.Field(f.index).SetZero()
		}
		chosen := dst.Field(fields[indexOf(fields, word)].index)
		chosen.Set(reflect.New(chosen.Type().Elem()))
		chosen.Elem().Set(defaultOf(chosen.Type().Elem()))
		d.places[join(path, word)] = placeOf(n)
		return nil
	}
	hint := "its fields are " + strings.Join(known, ", ")
	if near := nearest(word, words); near != "" && isScalar(n) {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if isChoice(fields) && slices.Contains(known, word) {
		hint = fmt.Sprintf("write it with its value: {%s: …}", word)
	}
	return d.wrongType(n, path, "a mapping", hint)
}

// wordsOf returns the names of the fields of t that may stand for the whole when
// nothing is to be said about them.
func wordsOf(t reflect.Type) []string {
	fields := fieldsOf(t)
	if !isChoice(fields) {
		return nil
	}
	return names(fields, func(f field) bool { return t.Field(f.index).Type.Kind() == reflect.Pointer })
}

// isChoice says whether a mapping consists of nothing but one of these fields.
func isChoice(fields []field) bool {
	return len(names(fields, choiceField)) == len(fields)
}

// list decodes a list; nothing is an empty one, so that all its entries can be
// commented out.
func (d *decoder) list(n ast.Node, dst reflect.Value, path string) *Error {
	if isNull(n) {
		return nil
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return d.wrongType(n, path, "a list", listHint(n, path, dst.Type().Elem()))
	}
	dst.Set(reflect.MakeSlice(dst.Type(), 0, len(seq.Values)))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.places[at] = placeOf(item)
		element := defaultOf(dst.Type().Elem())
		settable := reflect.New(element.Type()).Elem()
		settable.Set(element)
		if err := d.value(item, settable, at); err != nil {
			return err
		}
		dst.Set(reflect.Append(dst, settable))
	}
	return nil
}

func listHint(n ast.Node, path string, element reflect.Type) string {
	words := strings.Fields(scalarText(n))
	if element.Kind() != reflect.String || len(words) == 0 || len(words) > 20 {
		return ""
	}
	for i, word := range words {
		if strings.ContainsAny(word, "{}[],:#&*!|>'\"%@`") {
			words[i] = strconv.Quote(strings.Trim(word, `'"`))
		}
	}
	name := path[strings.LastIndex(path, ".")+1:]
	return fmt.Sprintf("write it as a list: %s: [%s]", name, strings.Join(words, ", "))
}

// variables decodes a mapping of names that are the user's own.
func (d *decoder) variables(n ast.Node, dst reflect.Value, path string) *Error {
	if isNull(n) {
		return nil
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		return d.wrongType(n, path, "a mapping", "write each entry as NAME: value")
	}
	entries, err := d.entries(m, path)
	if err != nil {
		return err
	}
	dst.Set(reflect.MakeMap(dst.Type()))
	for _, e := range entries {
		value := reflect.New(dst.Type().Elem()).Elem()
		if err := d.value(e.value, value, e.path); err != nil {
			return err
		}
		dst.SetMapIndex(reflect.ValueOf(e.name), value)
	}
	return nil
}

// wrongType says that the value at path should be something else.
func (d *decoder) wrongType(n ast.Node, path, want, hint string) *Error {
	got := kindOf(n)
	if text := scalarText(n); text != "" && len(text) <= 40 {
		got = fmt.Sprintf("%s %q", got, text)
	}
	return d.doc.errorAt(d.places[path], path, fmt.Sprintf("%s must be %s, not %s", path, want, got), hint)
}
