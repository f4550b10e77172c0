package spec

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// vars are the values that a command's templates can name. The driver fills
// them in, and this package can't import it: the names and types are those of
// driver.Vars, and a test compares the two.
type vars struct {
	Port        int
	Host        string
	Socket      string
	Dir, RunDir string
	Service     string
	Release     string
	Instance    string
	Index       int
}

// sampleVars has all values that exist under listen.
func sampleVars(listen Listen) vars {
	v := vars{
		Host: "127.0.0.1", Dir: "/artifact", RunDir: "/run", Service: "web",
		Release: "r1", Instance: "web-r1-1", Index: 1,
	}
	switch listen {
	case ListenSocket:
		v.Socket = "/run/socket"
	case ListenPort:
		v.Port = 8080
	}
	return v
}

// varNames returns the names of the fields of vars.
func varNames() []string {
	t := reflect.TypeFor[vars]()
	list := make([]string, t.NumField())
	for i := range list {
		list[i] = t.Field(i).Name
	}
	return list
}

// ofInstance says whether a value differs from instance to instance, so that a
// command that isn't run for one of them goes without.
func ofInstance(name string) bool {
	switch name {
	case "Dir", "Service", "Release":
		return false
	}
	return true
}

// ofAddress says whether a value exists only where an instance has an address.
func ofAddress(name string) bool {
	switch name {
	case "Port", "Host", "Socket":
		return true
	}
	return false
}

// templateScope is what a command's templates are filled in for.
type templateScope struct {
	listen Listen
	runs   commandKind
}

// commandKind is what a command runs for, and thereby which values it can name.
type commandKind int

const (
	// forInstance: it is an instance, or runs beside one.
	forInstance commandKind = iota
	// forCandidate: it checks all instances of the candidate.
	forCandidate
	// forHook: it runs at a moment of a deployment.
	forHook
)

// check checks one element of a command as a template. Fields are found by
// walking the tree, not by running it, so that those in a branch that isn't
// taken are checked as well.
func (scope templateScope) check(text string) *flaw {
	t, err := template.New("").Parse(text)
	if err != nil {
		return &flaw{fmt.Sprintf("is not a valid template: %s", templateMessage(err)), `write it as in "{{.Port}}"`}
	}
	if t.Tree == nil {
		return nil
	}
	w := templateWalk{scope: scope}
	if w.node(t.Root); w.flaw != nil {
		return w.flaw
	}
	if len(t.Templates()) > 1 {
		return unsupportedAction("define")
	}
	if err := t.Execute(io.Discard, sampleVars(scope.listen)); err != nil {
		return &flaw{fmt.Sprintf("is a template that fails: %s", templateMessage(err)), ""}
	}
	return nil
}

// templateMessage takes the name and place of the template away, which mean
// nothing to who reads the spec.
func templateMessage(err error) string {
	message := err.Error()
	if i := strings.LastIndex(message, ">: "); i >= 0 {
		return message[i+len(">: "):]
	}
	if parts := strings.SplitN(message, ": ", 3); len(parts) == 3 && parts[0] == "template" {
		return parts[2]
	}
	return message
}

// templateWalk finds the first thing in a template that a command can't have:
// unknown fields, the wrong address, and actions that a command has no use for
// and that could run for ever.
type templateWalk struct {
	scope templateScope
	flaw  *flaw
}

func (w *templateWalk) node(n parse.Node) {
	if w.flaw != nil {
		return
	}
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			w.nodes(n.Nodes)
		}
	case *parse.ActionNode:
		w.node(n.Pipe)
	case *parse.IfNode:
		w.node(n.Pipe)
		w.node(n.List)
		w.node(n.ElseList)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			w.nodes(command.Args)
		}
	case *parse.FieldNode:
		w.flaw = w.scope.checkVar(n.Ident)
	case *parse.TextNode, *parse.CommentNode, *parse.StringNode, *parse.NumberNode, *parse.BoolNode, *parse.IdentifierNode:
	case *parse.VariableNode:
		if len(n.Ident) > 1 || n.Ident[0] == "$" {
			w.flaw = unsupportedAction(n.String())
		}
	default:
		word, _, _ := strings.Cut(strings.Trim(n.String(), "{}"), " ")
		w.flaw = unsupportedAction(word)
	}
}

func (w *templateWalk) nodes(list []parse.Node) {
	for _, n := range list {
		w.node(n)
	}
}

func unsupportedAction(word string) *flaw {
	return &flaw{fmt.Sprintf("has a template with %q, which a command can't use", word), `name a value, as in "{{.Port}}"`}
}

// checkVar checks the name of a value.
func (scope templateScope) checkVar(ident []string) *flaw {
	name := ident[0]
	switch {
	case len(ident) > 1 || !slices.Contains(varNames(), name):
		name = strings.Join(ident, ".")
		hint := "the values are ." + strings.Join(varNames(), ", .")
		if near := nearest(name, varNames()); near != "" {
			hint = fmt.Sprintf("did you mean {{.%s}}?", near)
		}
		return &flaw{fmt.Sprintf("names an unknown value: {{.%s}}", name), hint}
	case scope.runs != forInstance && ofInstance(name):
		hint := "a hook can use {{.Dir}}, {{.Service}} and {{.Release}}"
		if scope.runs == forCandidate {
			hint = "the addresses of all are in the environment, in SEGUE_CANDIDATES"
		}
		return &flaw{fmt.Sprintf("uses {{.%s}}, which belongs to one instance", name), hint}
	case scope.listen == ListenNone && ofAddress(name):
		return &flaw{fmt.Sprintf("uses {{.%s}}, but the service listens on nothing", name), "remove it, or add listen: port for a service that takes requests"}
	case name == "Port" && scope.listen == ListenSocket:
		return &flaw{"uses {{.Port}}, but listen is socket", "use {{.Socket}}, or remove listen: socket"}
	case name == "Socket" && scope.listen == ListenPort:
		return &flaw{"uses {{.Socket}}, but listen is port", "add listen: socket, or use {{.Port}}"}
	}
	return nil
}
