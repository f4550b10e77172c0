package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// The name has spaces and parentheses.
	got, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194560 800 0 0 0 1234 567 0 0 20 0 9 0 1 2 3\n")
	if want := (stat{parent: 7, user: 1234, system: 567}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, line := range []string{"", "42 (a) S 7", "42 (a) S x 42 42 0 -1 4194560 800 0 0 0 y z 0 0"} {
		if _, err := parseStat(line); err == nil {
			t.Errorf("%q: no error", line)
		}
	}
}

// A process counts with all its threads and descendants, and with nobody else's.
func TestUsageOfAFamily(t *testing.T) {
	proc := procfs(t.TempDir())
	add := func(pid, parent, user, system, pss string, threads ...string) {
		t.Helper()
		dir := filepath.Join(string(proc), pid)
		files := map[string]string{
			"stat":         pid + " (it) S " + parent + " 1 1 0 -1 0 0 0 0 0 " + user + " " + system + " 0 0 20 0\n",
			"smaps_rollup": "5-6 ---p 00000000 00:00 0 [rollup]\nRss:  999 kB\nPss:   " + pss + " kB\nPss_Dirty: 1 kB\n",
		}
		for i, ran := range threads {
			files[filepath.Join("task", string(rune('1'+i)), "schedstat")] = ran + " 10 20\n"
		}
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("10", "1", "1", "2", "100", "1000")
	add("11", "10", "30", "40", "200", "2000", "3000")
	add("12", "11", "500", "600", "300", "4000")
	add("13", "1", "7000", "8000", "400", "5000")
	got, err := proc.usage(10)
	if want := (usage{cpu: 10000, user: 531, system: 642, memory: 600 << 10}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := proc.usage(99); err == nil {
		t.Error("no error for a process that isn't there")
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	u, err := procfs("/proc").usage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.cpu <= 0 || u.memory <= 0 {
		t.Errorf("%+v", u)
	}
}

func TestSplit(t *testing.T) {
	before := usage{cpu: time.Second, user: 100, system: 100, memory: 5}
	after := usage{cpu: 3 * time.Second, user: 125, system: 175, memory: 8}
	used := after.since(before)
	if user, system := used.split(); user != 500*time.Millisecond || system != 1500*time.Millisecond {
		t.Errorf("%s and %s, want 0.5 s and 1.5 s", user, system)
	}
	if used.memory != 3 {
		t.Errorf("memory %d, want 3", used.memory)
	}
	// Less than a tick: nobody knows.
	if user, system := (usage{cpu: time.Millisecond}).split(); user != 0 || system != time.Millisecond {
		t.Errorf("%s and %s", user, system)
	}
}
