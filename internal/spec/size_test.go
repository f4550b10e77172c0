package spec

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	good := map[string]Size{
		"64MiB": 64 << 20, "1GB": 1e9, "512KiB": 512 << 10, "1024": 1024, "0": 0, "1.5GiB": 3 << 29,
		"1TiB": 1 << 40, "10kB": 10000, "10KB": 10000, "7B": 7, "64 MiB": 64 << 20, "64mib": 64 << 20,
		"9223372036854775807": 1<<63 - 1,
	}
	for text, want := range good {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
	bad := map[string]string{
		"64M": "unknown unit", "1PiB": "unknown unit", "": "must be a size", "MiB": "must be a size", "-1": "must be a size",
		"1e3": "must be a size", "0.3B": "whole number", "9223372036854775808": "too large", "999999999TiB": "too large",
		"1/2": "must be a size", "1..2MiB": "must be a size", ".": "must be a size", strings.Repeat("9", 1000): "must be a size",
	}
	for text, want := range bad {
		if got, err := ParseSize(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %d, %v; want %q", text, got, err, want)
		}
	}
}

func TestSizeIsWrittenInTheLargestUnitThatDividesIt(t *testing.T) {
	for _, text := range []string{"64MiB", "1GB", "512KiB", "1500B", "0B", "10MiB", "1536MiB", "2TB"} {
		s, err := ParseSize(text)
		if err != nil || s.String() != text {
			t.Errorf("%q: got %q, %v", text, s, err)
		}
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Int64Min(0).Draw(t, "bytes"))
		got, err := ParseSize(s.String())
		if err != nil || got != s {
			t.Fatalf("%d: %q: got %d, %v", s, s, got, err)
		}
	})
}
