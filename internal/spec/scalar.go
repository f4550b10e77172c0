package spec

import (
	"encoding"
	"errors"
	"math"
	"reflect"

	"github.com/goccy/go-yaml/ast"
)

// text decodes a scalar that a type of ours reads from its text.
func (d *decoder) text(n ast.Node, dst reflect.Value, path string) *Error {
	if !isScalar(n) {
		return d.wrongType(n, path, "one value", "")
	}
	err := dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(scalarText(n)))
	if err == nil {
		return nil
	}
	var f *flaw
	if errors.As(err, &f) {
		return d.doc.errorAt(d.places[path], path, path+" "+f.message, f.hint)
	}
	return d.doc.errorAt(d.places[path], path, path+": "+err.Error(), "")
}

func (d *decoder) scalar(n ast.Node, dst reflect.Value, path string) *Error {
	switch dst.Kind() {
	case reflect.String:
		if !isScalar(n) {
			return d.wrongType(n, path, "a text", textHint(n))
		}
		dst.SetString(scalarText(n))
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return d.wrongType(n, path, "true or false", "")
		}
		dst.SetBool(b.Value)
	case reflect.Int:
		number, ok := wholeNumber(n)
		if !ok {
			return d.wrongType(n, path, "a whole number", "")
		}
		dst.SetInt(number)
	case reflect.Float64:
		number, ok := realNumber(n)
		if !ok {
			return d.wrongType(n, path, "a number", "")
		}
		dst.SetFloat(number)
	default:
		panic("spec: no decoder for " + dst.Type().String())
	}
	return nil
}

func textHint(n ast.Node) string {
	if isNull(n) {
		return `write "" for an empty text, or remove the field`
	}
	return ""
}

func isScalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return true
	}
	return false
}

// scalarText returns the text of a scalar as it was written: 1.10 stays "1.10"
// where a text is asked for. It is empty for any other node.
func scalarText(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	if isScalar(n) {
		return n.GetToken().Value
	}
	return ""
}

func wholeNumber(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch v := i.Value.(type) {
	case int64:
		return v, v >= math.MinInt && v <= math.MaxInt
	case uint64:
		return int64(v), v <= math.MaxInt
	}
	return 0, false
}

func realNumber(n ast.Node) (float64, bool) {
	if f, ok := n.(*ast.FloatNode); ok {
		return f.Value, !math.IsInf(f.Value, 0) && !math.IsNaN(f.Value)
	}
	i, ok := wholeNumber(n)
	return float64(i), ok
}
