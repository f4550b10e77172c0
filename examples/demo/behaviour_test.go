package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseBehaviour(t *testing.T) {
	for in, want := range map[string]behaviour{
		"":                  {kind: ok},
		"ok":                {kind: ok},
		"unhealthy":         {kind: unhealthy},
		"crash":             {kind: crash},
		"crash-after=200ms": {kind: crashAfter, after: 200 * time.Millisecond},
		"crash-after":       {kind: crashAfter, after: 5 * time.Second},
		"listen-late=3s":    {kind: listenLate, after: 3 * time.Second},
		"slow-start":        {kind: slowStart, after: 3 * time.Second},
		"smoke-fails":       {kind: smokeFails},
		"errors=0":          {kind: failing},
		"errors=100":        {kind: failing, percent: 100},
		"errors":            {kind: failing, percent: 20},
		"errors-after=7":    {kind: failAfter, requests: 7},
		"crash-at":          {kind: crashAt, requests: 100},
		"slow=1ms":          {kind: slowly, after: time.Millisecond},
		"hang":              {kind: hang},
		"ignore-term":       {kind: ignoreTerm},
	} {
		got, err := parseBehaviour(in)
		if err != nil || got != want {
			t.Errorf("parseBehaviour(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseBehaviourRefusesMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"unhelthy":        "use one of crash, crash-after, crash-at, errors",
		"OK":              "unknown",
		"ok=1":            "takes no value",
		"crash=":          "takes no value",
		"crash-after=":    "not a duration",
		"crash-after=5":   "not a duration",
		"listen-late=-1s": "not a duration",
		"errors=20%":      "not a percentage",
		"errors=101":      "not a percentage",
		"errors=":         "not a percentage",
		"errors-after=0":  "not a number of requests",
		"crash-at=1s":     "not a number of requests",
		"slow=1":          "not a duration",
		" ok":             "unknown",
	} {
		_, err := parseBehaviour(in)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "DEMO_BEHAVIOUR="+in) {
			t.Errorf("parseBehaviour(%q): error %v, want one that says %q", in, err, want)
		}
	}
}

func TestReadmeListsEveryBehaviour(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range behaviours() {
		if !strings.Contains(string(readme), "| `"+string(b.kind)) {
			t.Errorf("README.md doesn't say what %s does", b.kind)
		}
	}
}
