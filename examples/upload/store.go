package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"

	"github.com/segue-deploy/segue/handback"
)

// store keeps files in a directory. One is there as a whole or not at all: it gets its name
// when its last byte is written.
type store struct{ dir, release string }

func (s store) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /files/{name}", s.post)
	mux.HandleFunc("GET /files/{name}", s.get)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", s.release)
		mux.ServeHTTP(w, r)
	})
}

// path is where a file is kept; what begins with a dot isn't one yet.
func (s store) path(r *http.Request) (string, bool) {
	name := r.PathValue("name")
	return filepath.Join(s.dir, name), regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`).MatchString(name)
}

func (s store) post(w http.ResponseWriter, r *http.Request) {
	path, ok := s.path(r)
	if !ok {
		http.Error(w, "a name has letters, digits, dots, dashes and underscores", http.StatusBadRequest)
		return
	}
	sum, n, err := s.put(path, r)
	if err != nil {
		// Also handback.ErrHandedBack, and then nobody gets this.
		http.Error(w, "the file was not stored: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%d %x\n", n, sum)
}

// put stores a body. Until it is there as a whole nothing has happened.
func (s store) put(path string, r *http.Request) (sum []byte, n int64, err error) {
	f, err := os.CreateTemp(s.dir, ".upload-")
	if err != nil {
		return nil, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// What was read of the body is in the file.
	handback.Keep(r, func() (io.ReadCloser, error) { return os.Open(f.Name()) })
	h := sha256.New()
	if n, err = io.Copy(io.MultiWriter(f, h), r.Body); err != nil {
		return nil, n, err
	}
	if err := f.Sync(); err != nil {
		return nil, n, err
	}
	return h.Sum(nil), n, os.Rename(f.Name(), path)
}

func (s store) get(w http.ResponseWriter, r *http.Request) {
	path, ok := s.path(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, path)
}
