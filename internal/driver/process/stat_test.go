//go:build linux

package process

import (
	"fmt"
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	tail := " S 1 42 43 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 987654 0 0"
	for _, name := range []string{"sleep", "a b", "ends) R 9 9 9 (", ""} {
		s, err := parseStat([]byte(fmt.Sprintf("42 (%s)%s\n", name, tail)))
		if want := (stat{pid: 42, parent: 1, group: 42, session: 43, ticks: 987654}); err != nil || s != want {
			t.Errorf("program %q: got %+v, error %v", name, s, err)
		}
	}
	for text, want := range map[string]bool{
		"42 (x) Z 1 42 43 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 987654": true,
		"42 (x) Z 1 42 43 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 0 0 987654": true,
		"42 (x) Z 1 42 43 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 7 0 987654": false,
	} {
		if s, err := parseStat([]byte(text)); err != nil || s.zombie != want {
			t.Errorf("%s: zombie is %v, error %v", text, s.zombie, err)
		}
	}
	for _, text := range []string{"", "42", "42 (x", "42 (x) S 1", "x (y)" + tail, ")("} {
		if _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q is taken for a line of stat", text)
		}
	}
	if _, err := readStat(os.Getpid()); err != nil {
		t.Error(err)
	}
}
