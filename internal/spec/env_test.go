package spec

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func lookupIn(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func TestResolveEnv(t *testing.T) {
	in := map[string]string{
		"PLAIN": "x", "ONE": "${A}", "MORE": "a${A}b${B}c${A}", "DOLLAR": "$$${A}$$", "NOT": "$${A}", "EMPTY": "${E}",
	}
	got, err := ResolveEnv(in, lookupIn(map[string]string{"A": "1$$", "B": "${A}", "E": ""}))
	want := map[string]string{
		"PLAIN": "x", "ONE": "1$$", "MORE": "a1$$b${A}c1$$", "DOLLAR": "$1$$$", "NOT": "${A}", "EMPTY": "",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if in["ONE"] != "${A}" {
		t.Error("the argument was changed")
	}
	if got, err := ResolveEnv(nil, lookupIn(nil)); err != nil || len(got) != 0 {
		t.Errorf("of nothing: got %q, %v", got, err)
	}
}

func TestResolveEnvNamesAllThatIsUnset(t *testing.T) {
	_, err := ResolveEnv(map[string]string{
		"URL": "${USER_}:${PASSWORD}@${PASSWORD}", "TOKEN": "${SECRET}", "COPY": "${PASSWORD}", "FINE": "${OK}",
	}, lookupIn(map[string]string{"OK": "1"}))
	const want = "PASSWORD (for COPY, URL), SECRET (for TOKEN), USER_ (for URL)"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
}

func TestResolveEnvRefusesWhatIsNotValid(t *testing.T) {
	for _, value := range []string{"$", "a$b", "${", "${}", "${A", "${A-B}", "$${$", "$$$"} {
		_, err := ResolveEnv(map[string]string{"X": value}, lookupIn(map[string]string{"A": "1"}))
		if err == nil || !strings.Contains(err.Error(), "env.X") {
			t.Errorf("%q: got %v", value, err)
		}
		if checkEnvValue(value) == nil {
			t.Errorf("%q: passes the check", value)
		}
	}
}

func TestAnyTextCanBeWrittenWithDoubledDollars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[$${}A-C ]{0,12}`).Draw(t, "text")
		got, err := ResolveEnv(map[string]string{"X": strings.ReplaceAll(text, "$", "$$")}, lookupIn(nil))
		if err != nil || got["X"] != text {
			t.Fatalf("got %q, %v; want %q", got["X"], err, text)
		}
	})
}
