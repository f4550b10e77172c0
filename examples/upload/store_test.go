package main

import (
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	h := store{dir, "r7"}.handler()
	do := func(method, path string, body io.Reader) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, body))
		return w
	}
	const sum = "5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n"
	for _, test := range []struct {
		method, path string
		body         io.Reader
		code         int
		answer       string
	}{
		{"GET", "/healthz", nil, 200, ""},
		{"GET", "/files/a", nil, 404, "404 page not found\n"},
		{"POST", "/files/a", strings.NewReader("hello"), 200, sum},
		{"GET", "/files/a", nil, 200, "hello"},
		{"POST", "/files/.a", strings.NewReader("hello"), 400, "a name has letters, digits, dots, dashes and underscores\n"},
		{"POST", "/files/b", io.MultiReader(strings.NewReader("hello"), broken{}), 500, "the file was not stored: broken\n"},
		{"GET", "/files/b", nil, 404, "404 page not found\n"},
	} {
		if w := do(test.method, test.path, test.body); w.Code != test.code || w.Body.String() != test.answer || w.Header().Get("X-Release") != "r7" {
			t.Errorf("%s %s: %d %q", test.method, test.path, w.Code, w.Body)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the directory has %v, %v", left, err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestRunNeedsItsEnvironment(t *testing.T) {
	if err := run(t.Context(), "", t.TempDir(), "r1"); err == nil || !strings.Contains(err.Error(), "PORT") {
		t.Error(err)
	}
}
