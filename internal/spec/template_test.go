package spec

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"testing"
)

func TestTemplates(t *testing.T) {
	argument := func(a string) string { return "service: web\ncommand:\n  - serve\n  - '" + a + "' #!\n" }
	const field = "command[1]"
	runBadCases(t, []badCase{
		{"open", argument("{{.Port"), field, "not a valid template", "{{.Port}}"},
		{"unknown", argument("{{.Prt}}"), field, "unknown value: {{.Prt}}", "did you mean {{.Port}}?"},
		{"lower case", argument("{{.port}}"), field, "unknown value: {{.port}}", "did you mean {{.Port}}?"},
		{"unknown, none near", argument("{{.Banana}}"), field, "unknown value", ".Port, .Host, .Socket, .Dir, .RunDir"},
		{"field of a value", argument("{{.Port.X}}"), field, "unknown value: {{.Port.X}}", ""},
		{"in a branch not taken", argument("{{if false}}{{.Prt}}{{end}}"), field, "unknown value", ""},
		{"in an argument", argument(`{{printf "%d" .Prt}}`), field, "unknown value", ""},
		{"nested", argument(`{{printf "%d" (len .Prt)}}`), field, "unknown value", ""},
		{"function", argument("{{Port}}"), field, "not a valid template: function \"Port\" not defined", ""},
		{"everything", argument("{{.}}"), field, "can't use", ""},
		{"root", argument("{{$.Prt}}"), field, "can't use", ""},
		{"range", argument("{{range 1000000000000}}x{{end}}"), field, `"range", which a command can't use`, ""},
		{"template", argument(`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`), field, "can't use", ""},
		{"define", argument(`{{define "a"}}{{.X}}{{end}}x`), field, "can't use", ""},
		{"only define", argument(`{{define "a"}}{{.X}}{{end}}`), field, "can't use", ""},
		{"with", argument("{{with .Port}}{{.}}{{end}}"), field, "can't use", ""},
		{"fails", argument("{{index .Host 99}}"), field, "template that fails", ""},
		{"socket with a port", argument("{{.Socket}}"), field, "uses {{.Socket}}, but listen is port", "listen: socket"},
		{"health command", minimal + "health:\n  command: [check, \"{{.Prt}}\"] #!\n", "health.command[1]", "unknown value", "{{.Port}}"},
		{"health command, address", minimal + "health:\n  command: [check, \"{{.Socket}}\"] #!\n", "health.command[1]", "listen is port", ""},
		{"smoke command", minimal + "smoke:\n  - command: [check, \"{{.Port}}\"] #!\n", "smoke[0].command[1]", "belongs to one instance", "SEGUE_CANDIDATES"},
		{"port with a socket", "listen: socket\n" + argument(":{{.Port}}"), field, "uses {{.Port}}, but listen is socket", "{{.Socket}}"},
	})
}

func TestTemplatesThatAreFine(t *testing.T) {
	for _, a := range []string{
		"", "plain", "-p={{.Port}}", "{{.Host}}:{{.Port}}", "{{.Dir}}/{{.RunDir}}/{{.Service}}-{{.Release}}-{{.Instance}}-{{.Index}}",
		`{{printf "%05d" .Port}}`, "{{if eq .Index 1}}first{{else}}other{{end}}", "{{/* nothing */}}", "{{$p := .Port}}{{$p}}", "}}", "{",
		"{{.Port | print}}", "{{and true .Port}}",
	} {
		if f := (templateScope{ListenPort, forInstance}).check(a); f != nil {
			t.Errorf("%q: %v", a, f)
		}
	}
	if f := (templateScope{ListenSocket, forInstance}).check("unix:{{.Socket}}"); f != nil {
		t.Errorf("socket: %v", f)
	}
}

// The driver's type is read from its source, since this package may not import
// it.
func TestVarsAreThoseOfTheDriver(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "driver", "driver.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if typ, ok := n.(*ast.TypeSpec); ok && typ.Name.Name == "Vars" {
			for _, f := range typ.Type.(*ast.StructType).Fields.List {
				for _, name := range f.Names {
					want[name.Name] = f.Type.(*ast.Ident).Name
				}
			}
		}
		return true
	})
	got := map[string]string{}
	typ := reflect.TypeFor[vars]()
	for i := range typ.NumField() {
		got[typ.Field(i).Name] = typ.Field(i).Type.String()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("vars are %v, driver.Vars %v", got, want)
	}
}
