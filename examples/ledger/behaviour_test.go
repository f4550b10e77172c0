package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseBehaviour(t *testing.T) {
	for in, want := range map[string]behaviour{
		"":                 {kind: ok},
		"ok":               {kind: ok},
		"crash":            {kind: crash},
		"never-ready":      {kind: neverReady},
		"slow-start":       {kind: slowStart, after: 3 * time.Second},
		"slow-start=200ms": {kind: slowStart, after: 200 * time.Millisecond},
		"errors":           {kind: failing, percent: 20},
		"errors=100":       {kind: failing, percent: 100},
	} {
		got, err := parseBehaviour(in)
		if err != nil || got != want {
			t.Errorf("parseBehaviour(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseBehaviourRefusesMistakes(t *testing.T) {
	for in, want := range map[string]string{
		"crush":          "use one of crash, errors, never-ready",
		"ok=1":           "takes no value",
		"slow-start=5":   "not a duration",
		"slow-start=-1s": "not a duration",
		"errors=101":     "not a percentage",
	} {
		_, err := parseBehaviour(in)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "LEDGER_BEHAVIOUR="+in) {
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
