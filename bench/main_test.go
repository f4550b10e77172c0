package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	c := compared(t)
	if len(c.contenders) != 4 || len(c.cases) != 8 {
		t.Errorf("%d contenders and %d cases by default", len(c.contenders), len(c.cases))
	}
	c = compared(t, "-segue", "a,b", "-only", "nginx,segue", "-cases", "post,1k", "-rounds", "3")
	var names []string
	for _, who := range c.contenders {
		names = append(names, who.name)
	}
	names = append(names, caseNames(c.cases)...)
	if got, want := strings.Join(names, " "), "segue A segue B nginx 1k post"; got != want || c.rounds != 3 {
		t.Errorf("%s, %d rounds; want %s, 3 rounds", got, c.rounds, want)
	}
	for _, args := range [][]string{
		{"-only", "apache"}, {"-cases", "2k"}, {"-rounds", "0"}, {"-window", "0s"}, {"more"}, {"-unknown"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// Every configuration can be written, and nothing is missing from it.
func TestRender(t *testing.T) {
	at := place{
		Dir: t.TempDir(), Listen: "127.0.0.1:1", Address: "127.0.0.1", Port: "1",
		TCP: "127.0.0.1:2", Unix: "/up.sock", TCPHost: tcpHost, UnixHost: unixHost, Workers: 2, Clients: 3, Files: 4,
	}
	for _, name := range []string{"nginx.conf", "haproxy.cfg", "Caddyfile"} {
		path, err := at.render(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{at.TCP, at.Unix, tcpHost, unixHost} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s does not have %s", name, want)
			}
		}
		if strings.Contains(string(text), "{{") {
			t.Errorf("%s has something left to fill in:\n%s", name, text)
		}
	}
	if err := at.table().Validate(); err != nil {
		t.Error(err)
	}
}
