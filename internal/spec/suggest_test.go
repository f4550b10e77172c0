package spec

import "testing"

func TestNearest(t *testing.T) {
	fields := []string{"service", "command", "instances", "env", "env_file", "start_deadline", "stop_grace", "drain"}
	tests := map[string]string{
		"instnces": "instances", "instance": "instances", "comand": "command", "commnad": "command", "Service": "service",
		"startDeadline": "start_deadline", "start-deadline": "start_deadline", "envfile": "env_file", "drian": "drain",
		"x": "", "banana": "", "": "",
	}
	for word, want := range tests {
		if got := nearest(word, fields); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"é", "e", 1}}
	for _, test := range tests {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
