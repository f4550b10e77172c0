package main

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"
)

func TestConfigFrom(t *testing.T) {
	env := map[string]string{
		"QUEUE_DIR": "/queue", "SEGUE_RELEASE": "r2", "SEGUE_INSTANCE": "worker-r2-1", "NOTIFY_SOCKET": "/n", "WORKER_BEHAVIOUR": "crash-after=200ms",
	}
	c, err := configFrom(func(name string) string { return env[name] })
	want := config{queue: "/queue", release: "r2", instance: "worker-r2-1", notify: "/n", behaviour: behaviour{crashAfter, 200 * time.Millisecond}}
	if err != nil || c != want {
		t.Errorf("got %+v, %v; want %+v", c, err, want)
	}
}

func TestConfigFromRefusesMistakes(t *testing.T) {
	for want, wrong := range map[string]map[string]string{
		"QUEUE_DIR=: set it to the":             {"QUEUE_DIR": ""},
		"QUEUE_DIR=queue: set it":               {"QUEUE_DIR": "queue"},
		"WORKER_BEHAVIOUR=bad: unknown; use":    {"WORKER_BEHAVIOUR": "bad"},
		"WORKER_BEHAVIOUR=ok=1: ok takes no":    {"WORKER_BEHAVIOUR": "ok=1"},
		"WORKER_BEHAVIOUR=crash-after=5: \"5\"": {"WORKER_BEHAVIOUR": "crash-after=5"},
	} {
		env := map[string]string{"QUEUE_DIR": "/queue"}
		maps.Copy(env, wrong)
		if _, err := configFrom(func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

func TestParseBehaviour(t *testing.T) {
	for in, want := range map[string]behaviour{
		"":            {kind: ok},
		"ok":          {kind: ok},
		"crash":       {kind: crash},
		"never-ready": {kind: neverReady},
		"crash-after": {kind: crashAfter, after: 5 * time.Second},
	} {
		if got, err := parseBehaviour(in); err != nil || got != want {
			t.Errorf("parseBehaviour(%q) = %+v, %v; want %+v", in, got, err, want)
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
