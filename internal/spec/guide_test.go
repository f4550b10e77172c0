package spec

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readGuide(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// guideRows returns what the tables of the guide say of each field's default.
func guideRows(t *testing.T) map[string]string {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|([^|]*)\\|[^|]*\\|$")
	rows := map[string]string{}
	for _, cells := range row.FindAllStringSubmatch(readGuide(t, "../../docs/guides/spec.md"), -1) {
		rows[cells[1]] = strings.Trim(cells[2], " `")
	}
	return rows
}

// guidePath is how the guide names the fields of those types that have a table of
// their own because they are used in several places.
func guidePath(t reflect.Type, path string) string {
	switch t {
	case reflect.TypeFor[Match]():
		return "preview[]"
	case reflect.TypeFor[Approve]():
		return "approve"
	case reflect.TypeFor[CanaryStep]():
		return "steps[]"
	}
	return path
}

// guideField is a field as the guide has to name it.
type guideField struct {
	// schema is its path in the schema.
	schema string
	// leaf: it is no more than a heading for others otherwise.
	leaf bool
}

// guideFields returns all of them, those of each type once.
func guideFields() map[string]guideField {
	fields, seen := map[string]guideField{}, map[reflect.Type]bool{}
	var walk func(typ reflect.Type, path, schema string)
	walk = func(typ reflect.Type, path, schema string) {
		for _, f := range fieldsOf(typ) {
			at, inSchema := join(path, f.name), join(schema, f.name)
			of, below := typ.Field(f.index).Type, at
			for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
				if of.Kind() == reflect.Slice {
					below += "[]"
				}
				of = of.Elem()
			}
			fields[at] = guideField{inSchema, of.Kind() != reflect.Struct}
			if of.Kind() == reflect.Struct && !seen[of] {
				seen[of] = true
				walk(of, guidePath(of, below), inSchema)
			}
		}
	}
	walk(reflect.TypeFor[Spec](), "", "")
	return fields
}

func TestGuideHasEveryFieldWithItsDefault(t *testing.T) {
	rows, fields, schema := guideRows(t), guideFields(), schemaFields(t)
	for path, f := range fields {
		text, there := rows[path]
		if !there && f.leaf {
			t.Errorf("the guide has no row for %s", path)
		}
		if want := schema[f.schema]["default"]; there && want != nil && text != fmt.Sprint(want) {
			t.Errorf("by the guide the default of %s is %q, and it is %v", path, text, want)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(rows)) {
		if _, known := fields[path]; !known {
			t.Errorf("the guide has a row for %s, which is no field", path)
		}
	}
}

// TestGuidesExamplesParse takes every example of the documents at its word. One that
// is no whole file is a part of one.
func TestGuidesExamplesParse(t *testing.T) {
	guides, err := filepath.Glob("../../docs/guides/*.md")
	if err != nil || len(guides) == 0 {
		t.Fatal(guides, err)
	}
	given := map[string]bool{}
	block := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")
	for _, guide := range append(guides, "../../README.md") {
		for _, m := range block.FindAllStringSubmatch(readGuide(t, guide), -1) {
			text := regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], "")
			if !strings.HasPrefix(text, "service:") {
				text = minimal + "artifact: dist\n" + text
			}
			_, d, err := parseFile(guide, []byte(text))
			if err != nil {
				t.Errorf("%v, in\n%s", err, text)
				continue
			}
			for path := range d.places {
				given[regexp.MustCompile(`\[[0-9]+\]`).ReplaceAllString(path, "[]")] = true
			}
		}
	}
	for _, path := range []string{
		"strategy.blue-green.preview", "strategy.blue-green.approve", "strategy.canary.match", "strategy.canary.mirror", "route.sticky",
		"strategy.canary.steps[].verify", "strategy.canary.steps[].approve", "strategy.rolling", "strategy.exclusive.hold", "strategy.worker",
		"strategy.worker.order", "guard", "freeze", "health.file", "health.command", "stop_signal",
	} {
		if !given[path] {
			t.Errorf("no example of the guides has %s", path)
		}
	}
}

func TestExamplesOfServicesLoad(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/segue.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if _, err := Load(file); err != nil {
			t.Error(err)
		}
	}
}
