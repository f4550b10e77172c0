package main

import (
	"strings"
	"testing"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestConfigFrom(t *testing.T) {
	c, err := configFrom(env("PORT", "2001", "SEGUE_RELEASE", "r2", "SEGUE_INSTANCE", "demo-r2-1", "DEMO_VERSION", "two", "DEMO_SEEN", "/seen"))
	want := config{network: "tcp", address: "127.0.0.1:2001", release: "r2", instance: "demo-r2-1", version: "two", behaviour: behaviour{kind: ok}, seen: "/seen"}
	if err != nil || c != want {
		t.Errorf("got %+v, %v; want %+v", c, err, want)
	}
	c, err = configFrom(env("SOCKET", "/run/x.sock"))
	want = config{network: "unix", address: "/run/x.sock", release: "local", instance: "local-1", behaviour: behaviour{kind: ok}}
	if err != nil || c != want {
		t.Errorf("got %+v, %v; want %+v", c, err, want)
	}
	if c, err = configFrom(env("PORT", "80", "HOST", "::1")); err != nil || c.address != "[::1]:80" {
		t.Errorf("got %q, %v; want [::1]:80", c.address, err)
	}
}

func TestConfigFromRefusesMistakes(t *testing.T) {
	for want, getenv := range map[string]func(string) string{
		"set PORT or SOCKET":       env(),
		"both PORT and SOCKET":     env("PORT", "80", "SOCKET", "/run/x.sock"),
		"PORT=http: not a port":    env("PORT", "http"),
		"PORT=0: not a port":       env("PORT", "0"),
		"PORT=65536: not a port":   env("PORT", "65536"),
		"DEMO_BEHAVIOUR=bad: unkn": env("PORT", "80", "DEMO_BEHAVIOUR", "bad"),
	} {
		if _, err := configFrom(getenv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
