package spec

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// typesSource are the files with the types; their comments are the schema's
// descriptions, so that an editor shows what the code says.
//
//go:embed spec.go strategy.go analysis.go
var typesSource embed.FS

// Schema returns a JSON Schema (draft 2020-12) of segue.yaml, made from the Go
// types, for editors to complete and check what is written. It knows shapes and
// defaults; what it can't say, [Parse] checks.
func Schema() ([]byte, error) {
	comments, err := readComments()
	if err != nil {
		return nil, fmt.Errorf("spec: schema: %w", err)
	}
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		ExpandedStruct:             true,
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Mapper:                     schemaOf,
		LookupComment:              comments.lookup,
	}
	s := r.Reflect(Spec{})
	s.Title = "segue.yaml"
	complete(s, reflect.ValueOf(*Default()))
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("spec: schema: %w", err)
	}
	return append(out, '\n'), nil
}

// schemaOf returns the schemas of the types that have a notation of their own.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[Duration]():
		return &jsonschema.Schema{
			Type:     "string",
			Pattern:  `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$`,
			Examples: []any{"30s", "1m30s"},
		}
	case reflect.TypeFor[Size]():
		return &jsonschema.Schema{
			Pattern:  `^([0-9]+(\.[0-9]*)?|\.[0-9]+) *([KkMmGgTt][Ii]?)?[Bb]?$`,
			Examples: []any{"64MiB", "1GB"},
			Extras:   map[string]any{"type": []string{"string", "integer"}, "minimum": 0},
		}
	case reflect.TypeFor[Percent]():
		return &jsonschema.Schema{
			Pattern:  `^([0-9]+(\.[0-9]*)?|\.[0-9]+) *%?$`,
			Examples: []any{"5%", "0.5%"},
			Extras:   map[string]any{"type": []string{"string", "number"}, "minimum": 0, "maximum": 100},
		}
	case reflect.TypeFor[StatusRange]():
		return &jsonschema.Schema{
			Pattern:  `^([1-5]xx|[1-5][0-9][0-9](-[1-5][0-9][0-9])?)$`,
			Examples: []any{"5xx", 404, "500-503"},
			Extras:   map[string]any{"type": []string{"string", "integer"}, "minimum": 100, "maximum": 599},
		}
	case reflect.TypeFor[CandidateInstances]():
		return &jsonschema.Schema{
			Pattern:  `^(auto|full|[0-9]+)$`,
			Examples: []any{"auto", "full", 2},
			Extras:   map[string]any{"type": []string{"string", "integer"}, "minimum": 1, "maximum": MaxInstances},
		}
	case reflect.TypeFor[Amount]():
		return &jsonschema.Schema{
			Pattern:  `^[0-9]+ *%?$`,
			Examples: []any{1, "25%"},
			Extras:   map[string]any{"type": []string{"string", "integer"}, "minimum": 0, "maximum": MaxInstances},
		}
	}
	return nil
}

// complete adds to the schema of a struct what the reflector doesn't know: the
// defaults in value, which fields exclude each other, and where nothing, a word
// or an unquoted number may stand.
func complete(s *jsonschema.Schema, value reflect.Value) {
	fields := fieldsOf(value.Type())
	for _, f := range fields {
		property, ok := s.Properties.Get(f.name)
		if !ok {
			continue
		}
		v := value.Field(f.index)
		if text := defaultText(v); text != nil && !f.choice {
			property.Default = text
		}
		property.Description = inYAML(property.Description, value.Type().Field(f.index).Name, f.name)
		completeField(property, v)
	}
	if i := shortOf(value.Type()); i >= 0 {
		short, _ := s.Properties.Get(fields[i].name)
		also(s, "string")
		s.Pattern = short.Pattern
	}
	exclude(s, fields, value)
	if words := wordsOf(value.Type()); len(words) > 0 {
		also(s, "string")
		s.Pattern = "^(" + strings.Join(words, "|") + ")$"
	}
}

func completeField(s *jsonschema.Schema, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().Elem().Kind() != reflect.Struct {
			return
		}
		complete(s, defaultOf(v.Type().Elem()))
		orNull(s)
	case reflect.Struct:
		complete(s, v)
		orNull(s)
	case reflect.Slice:
		if element := v.Type().Elem(); element.Kind() == reflect.Struct {
			complete(s.Items, defaultOf(element))
		} else {
			anyScalar(s.Items)
		}
		if s.MinItems == nil {
			orNull(s)
		}
	case reflect.Map:
		anyScalar(s.AdditionalProperties)
		orNull(s)
	case reflect.String:
		anyScalar(s)
	}
}

// orNull lets a field stand without a value, when it has no required ones.
func orNull(s *jsonschema.Schema) {
	if len(s.Required) == 0 {
		also(s, "null")
	}
}

// also lets a field be of other types than its own.
func also(s *jsonschema.Schema, types ...string) {
	if s.Type != "" {
		s.Extras = map[string]any{"type": []string{s.Type}}
		s.Type = ""
	}
	if known, ok := s.Extras["type"].([]string); ok {
		s.Extras["type"] = append(known, types...)
	}
}

// anyScalar lets a free text be written without quotes even where YAML takes it
// for a number or a boolean.
func anyScalar(s *jsonschema.Schema) {
	if s.Type == "string" && s.Pattern == "" && s.Enum == nil {
		also(s, "number", "boolean")
	}
}

// exclude says that of the fields that are a choice there is one, or none where
// value, which holds the defaults, has chosen. Its words bind mappings only, so
// that nothing can stand for one.
func exclude(s *jsonschema.Schema, fields []field, value reflect.Value) {
	var one []*jsonschema.Schema
	others := map[string]*jsonschema.Schema{}
	chosen := false
	for _, f := range fields {
		if !f.choice {
			continue
		}
		chosen = chosen || !value.Field(f.index).IsZero()
		one = append(one, &jsonschema.Schema{Required: []string{f.name}})
		if rest := without(names(fields, choiceField), f.name); len(rest) > 0 {
			others[f.name] = &jsonschema.Schema{Not: &jsonschema.Schema{AnyOf: rest}}
		}
	}
	s.DependentSchemas = others
	if !chosen {
		s.AnyOf = one
	}
}

// without returns schemas that each ask for one of the names but name.
func without(list []string, name string) []*jsonschema.Schema {
	var rest []*jsonschema.Schema
	for _, other := range list {
		if other != name {
			rest = append(rest, &jsonschema.Schema{Required: []string{other}})
		}
	}
	return rest
}

// defaultText returns a scalar default as it is written; nil when there is none.
func defaultText(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Map:
		return nil
	}
	if v.IsZero() {
		return nil
	}
	if text, ok := v.Interface().(fmt.Stringer); ok {
		return text.String()
	}
	return v.Interface()
}

// comments holds the doc comments of types ("Spec") and fields ("Spec.Service").
type comments map[string]string

// readComments reads them from the source of the types.
func readComments() (comments, error) {
	c := comments{}
	for _, name := range []string{"spec.go", "strategy.go", "analysis.go"} {
		source, err := typesSource.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		c.addFile(file)
	}
	return c, nil
}

func (c comments) addFile(file *ast.File) {
	for _, declaration := range file.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, s := range general.Specs {
			c.addType(s.(*ast.TypeSpec), general.Doc)
		}
	}
}

func (c comments) addType(t *ast.TypeSpec, doc *ast.CommentGroup) {
	c[t.Name.Name] = oneParagraph(doc)
	structure, ok := t.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range structure.Fields.List {
		for _, name := range f.Names {
			c[t.Name.Name+"."+name.Name] = oneParagraph(f.Doc)
		}
	}
}

func oneParagraph(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(doc.Text()), " ")
}

// inYAML lets a field's description, which starts with its Go name by Go's
// convention, start with its name in segue.yaml.
func inYAML(description, goName, name string) string {
	if rest, ok := strings.CutPrefix(description, goName+" "); ok {
		return name + " " + rest
	}
	return description
}

// lookup is the reflector's question for the comment of a type or its field.
func (c comments) lookup(t reflect.Type, fieldName string) string {
	if fieldName == "" {
		return c[t.Name()]
	}
	return c[t.Name()+"."+fieldName]
}
