package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/segue-deploy/segue/"

// allowed says which of our packages each may import. What is not here may
// import none. See docs/architecture.md for the reasons.
func allowed() map[string][]string {
	return map[string][]string{
		"cmd/segue":                  {"internal/cli"},
		"internal/cli":               {"internal/api", "internal/prove", "internal/spec", "internal/daemon", "internal/proxy"},
		"internal/daemon":            {"internal/api", "internal/artifact", "internal/deploy", "internal/driver/process", "internal/journal", "internal/proxy"},
		"internal/api":               {"internal/deploy", "internal/spec", "internal/artifact"},
		"internal/deploy":            {"internal/analysis", "internal/artifact", "internal/driver", "internal/health", "internal/journal", "internal/proxy", "internal/spec"},
		"internal/driver":            {"internal/health"},
		"internal/driver/process":    {"internal/driver", "internal/health"},
		"internal/driver/drivertest": {"internal/driver", "internal/health"},
		"internal/proxy":             {"internal/health", "internal/proxy/h1"},
		"bench":                      {"internal/proxy", "internal/health"},
		"bench/analysis":             {"internal/analysis"},
	}
}

// TestImports holds the direction of imports. Tests may also import what they
// test against: the driver suite and its fake, a real journal and proxy, and Prometheus.
func TestImports(t *testing.T) {
	rules := allowed()
	files := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(rel))
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		may := rules[pkg]
		if strings.HasSuffix(path, "_test.go") {
			may = append(slices.Clone(may), pkg, "internal/analysis/prometheustest", "internal/driver/drivertest", "internal/journal", "internal/proxy")
		}
		if _, inside := rules[pkg]; !inside && !strings.HasPrefix(pkg, "internal/") {
			// Programs for tests, demos and examples stand outside, as users do. The
			// witness is on their side, and the helper for services is for them.
			may = []string{"e2e/load", "e2e/rig", "handback", "internal/analysis/prometheustest", "internal/prove"}
		}
		for _, imp := range f.Imports {
			target, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			ours, ok := strings.CutPrefix(target, module)
			if ok && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s; %s may import %s", rel, ours, pkg, strings.Join(append(may, "nothing else of ours"), ", "))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Fatalf("looked at %d files only", files)
	}
}
