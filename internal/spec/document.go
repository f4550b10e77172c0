package spec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The limits of a document. The scanner takes time in proportion to the bytes;
// the parser calls itself for each level and, in places, looks at all tokens
// for each token, so both are bounded before it runs.
const (
	maxBytes  = 1 << 20
	maxTokens = 20000
	// maxFlowDepth bounds brackets and braces within each other, maxIndent the
	// column in which a line's content starts and thereby the depth of blocks.
	maxFlowDepth = 32
	maxIndent    = 100
)

// document is a file's text and the YAML tree in it.
type document struct {
	file  string
	lines []string
	// root is the one mapping that the file consists of.
	root ast.MapNode
	// start is where root starts.
	start place
}

// place is a position in a document, from 1; zero is none.
type place struct{ line, column int }

// readDocument parses data, which came from file, as one YAML mapping. It
// refuses what segue.yaml has no use for and what makes YAML dangerous: anchors,
// aliases, tags, directives, complex keys, several documents.
func readDocument(file string, data []byte) (*document, *Error) {
	if len(data) > maxBytes {
		return nil, tooLarge(file)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	// The scanner knows CR LF and CR as ends of lines, but counts columns and
	// lines differently after them.
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	d := &document{file: file, lines: strings.Split(string(data), "\n")}
	if err := d.checkText(); err != nil {
		return nil, err
	}
	tokens := lexer.Tokenize(string(data))
	if err := d.checkTokens(tokens); err != nil {
		return nil, err
	}
	tree, err := parseTokens(tokens)
	if err != nil {
		return nil, d.syntaxError(err)
	}
	return d, d.setRoot(tree)
}

func tooLarge(file string) *Error {
	return &Error{File: file, Message: fmt.Sprintf("is larger than %s", Size(maxBytes)), Hint: "check that this is the right file"}
}

// errorAt returns an error about a place; a place outside the document is moved
// into it.
func (d *document) errorAt(p place, field, message, hint string) *Error {
	line := min(max(p.line, 1), len(d.lines))
	source := d.lines[line-1]
	column := min(max(p.column, 1), utf8.RuneCountInString(source)+1)
	return &Error{File: d.file, Line: line, Column: column, Source: source, Field: field, Message: message, Hint: hint}
}

// checkText finds what is no text: invalid UTF-8 and control characters.
func (d *document) checkText() *Error {
	for i, line := range d.lines {
		column := 0
		for at, char := range line {
			column++
			broken := char == utf8.RuneError && !strings.HasPrefix(line[at:], string(utf8.RuneError))
			control := char < ' ' && char != '\t' || char >= 0x7f && char < 0xa0 && char != 0x85
			if broken {
				return d.errorAt(place{i + 1, column}, "", "the file is not valid UTF-8", "save it as UTF-8 text")
			}
			if control {
				return d.errorAt(place{i + 1, column}, "", fmt.Sprintf("control character %U", char), "remove it; in a double-quoted string it can be written as an escape, like \"\\n\"")
			}
		}
	}
	return nil
}

// unsupported names the feature of YAML that a token belongs to when segue.yaml
// goes without it.
func unsupported(t token.Type) (name string, bad bool) {
	switch t {
	case token.AnchorType:
		return "an anchor (&)", true
	case token.AliasType:
		return "an alias (*)", true
	case token.TagType:
		return "a tag (!)", true
	case token.MergeKeyType:
		return "a merge key (<<)", true
	case token.MappingKeyType:
		return "a complex key (?)", true
	case token.DirectiveType:
		return "a directive (%)", true
	}
	return "", false
}

// checkTokens holds the document to its limits and to one document without the
// unsupported features.
func (d *document) checkTokens(tokens token.Tokens) *Error {
	depth, line, count, content := 0, 0, 0, false
	for _, t := range tokens {
		at := place{t.Position.Line, t.Position.Column}
		first := t.Position.Line != line
		line = t.Position.Line
		if t.Type == token.CommentType {
			continue
		}
		if count++; count > maxTokens {
			return d.errorAt(at, "", "the file is too long", "a segue.yaml has some hundred lines at most")
		}
		if name, bad := unsupported(t.Type); bad {
			return d.errorAt(at, "", name+" is not supported in segue.yaml", unsupportedHint(t))
		}
		if t.Type == token.DocumentHeaderType && content {
			return d.errorAt(at, "", "a second document starts here", "a segue.yaml holds one service: put the other into a file of its own")
		}
		content = content || t.Type != token.DocumentHeaderType
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth = max(depth-1, 0)
		}
		deepBlock := depth == 0 && at.column > maxIndent && (first || t.Type == token.SequenceEntryType)
		if depth > maxFlowDepth || deepBlock {
			return d.errorAt(at, "", "nested too deeply", "")
		}
	}
	return nil
}

// unsupportedHint says how to write what was probably meant: most aliases and
// tags are values that should have been quoted.
func unsupportedHint(t *token.Token) string {
	if t.Type == token.AliasType && t.Next != nil && strings.HasPrefix(t.Next.Value, ".") {
		return fmt.Sprintf("quote the value: \"*%s\"", t.Next.Value)
	}
	switch t.Type {
	case token.AliasType, token.TagType, token.AnchorType, token.DirectiveType, token.MappingKeyType:
		return "if it is part of a value, quote the value"
	}
	return "write the fields out"
}

// parseTokens runs the parser, and turns a panic of it into an error: what it
// reads may come from anyone.
func parseTokens(tokens token.Tokens) (tree *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("not valid YAML")
		}
	}()
	// Duplicate keys are found by the decoder, which says where the first is.
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func (d *document) syntaxError(err error) *Error {
	at, message := place{}, err.Error()
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		message = syntax.Message
		if syntax.Token != nil && syntax.Token.Position != nil {
			at = place{syntax.Token.Position.Line, syntax.Token.Position.Column}
		}
	}
	e := d.errorAt(at, "", "not valid YAML: "+message, "")
	indent := e.Source[:len(e.Source)-len(strings.TrimLeft(e.Source, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		e.Message, e.Hint = "a tab in the indentation", "YAML is indented with spaces: replace the tab"
		e.Column = strings.Index(indent, "\t") + 1
	case strings.Contains(e.Source, "{{"):
		e.Hint = "put quotes around a value with {{ }} in it"
	case strings.ContainsAny(e.Source, "*&!%@`"):
		e.Hint = "put quotes around a value that starts with one of * & ! % @ `"
	case strings.Count(e.Source, ": ") > 1:
		e.Hint = "put quotes around a value with \": \" in it, and each field on a line of its own"
	default:
		e.Hint = "check this line and its neighbours: fields of one mapping start in the same column, and brackets and quotes are closed"
	}
	return e
}

// setRoot finds the one mapping of the tree.
func (d *document) setRoot(tree *ast.File) *Error {
	const start = "a segue.yaml starts with the line \"service: NAME\"; segue init writes an example"
	bodies := slices.DeleteFunc(tree.Docs, func(doc *ast.DocumentNode) bool { return doc.Body == nil })
	if len(bodies) == 0 || isNull(bodies[0].Body) {
		return &Error{File: d.file, Message: "is empty", Hint: start}
	}
	if len(bodies) > 1 {
		return d.errorAt(placeOf(bodies[1].Body), "", "a second document starts here", "a segue.yaml holds one service: put the other into a file of its own")
	}
	root, ok := bodies[0].Body.(ast.MapNode)
	if !ok {
		return d.errorAt(placeOf(bodies[0].Body), "", "the file must be a mapping of fields, not "+kindOf(bodies[0].Body), start)
	}
	d.root, d.start = root, placeOf(bodies[0].Body)
	return nil
}

func isNull(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return n == nil || null
}

// placeOf returns where a node starts.
func placeOf(n ast.Node) place {
	if n == nil {
		return place{}
	}
	t := n.GetToken()
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			t = n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		t = n.Key.GetToken()
	}
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{t.Position.Line, t.Position.Column}
}

// kindOf names what a node is for a person.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "something else"
}
