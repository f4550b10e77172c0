package deploy

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/segue-deploy/segue/internal/spec"
)

// TestGuideShowsPlans holds the plans in the guide to those that are made of the specs
// above them.
func TestGuideShowsPlans(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guides/strategies.md")
	if err != nil {
		t.Fatal(err)
	}
	pair := regexp.MustCompile("(?s)```yaml\n(.*?)```\n\n```console\n\\$ segue plan\n(.*?)```")
	pairs := pair.FindAllStringSubmatch(string(guide), -1)
	if len(pairs) != strings.Count(string(guide), "$ segue plan") || len(pairs) < 5 {
		t.Fatalf("%d plans have a spec above them", len(pairs))
	}
	for _, p := range pairs {
		sp, err := spec.Parse("segue.yaml", []byte(p[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		s := State{
			Service: sp.Service, Stable: "r1", Releases: []Release{{ID: "r1", Spec: *sp}, {ID: "r2", Spec: *sp}},
			Running: map[string]Running{"r1": {Instances: sp.Instances}},
		}
		got := fmt.Sprintf("%s: deploy r2 (stable is r1)\n", sp.Service)
		for i, st := range plan(&s, &s.Releases[1]) {
			got += fmt.Sprintf("%3d. %s\n", i+1, st)
		}
		if got != p[2] {
			t.Errorf("the guide shows\n%s\nthe plan is\n%s", p[2], got)
		}
	}
}
