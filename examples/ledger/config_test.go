package main

import (
	"maps"
	"strings"
	"testing"
)

func TestConfigFrom(t *testing.T) {
	env := map[string]string{"PORT": "2001", "DATA_DIR": "/data", "SEGUE_RELEASE": "r2", "SEGUE_INSTANCE": "ledger-r2-1"}
	c, err := configFrom(func(name string) string { return env[name] })
	want := config{address: "127.0.0.1:2001", dir: "/data", release: "r2", instance: "ledger-r2-1", behaviour: behaviour{kind: ok}}
	if err != nil || c != want {
		t.Errorf("got %+v, %v; want %+v", c, err, want)
	}
}

func TestConfigFromRefusesMistakes(t *testing.T) {
	for want, wrong := range map[string]map[string]string{
		"set PORT":                   {"PORT": ""},
		"PORT=http: not a port":      {"PORT": "http"},
		"PORT=0: not a port":         {"PORT": "0"},
		"DATA_DIR=: set it to the a": {"DATA_DIR": ""},
		"DATA_DIR=data: set it":      {"DATA_DIR": "data"},
		"LEDGER_BEHAVIOUR=bad: unkn": {"LEDGER_BEHAVIOUR": "bad"},
	} {
		env := map[string]string{"PORT": "2001", "DATA_DIR": "/data"}
		maps.Copy(env, wrong)
		if _, err := configFrom(func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
