package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// queue is a directory with jobs in it: see the package's comment.
type queue string

// job is one that was taken.
type job struct {
	name string
	// busy is where its file is while it is done.
	busy  string
	takes time.Duration
	// refused says what is wrong with the job itself.
	refused string
}

// result is what became of a job.
type result struct {
	Job      string `json:"job"`
	Release  string `json:"release"`
	Instance string `json:"instance"`
	// Error is empty when the job was done.
	Error string `json:"error,omitempty"`
}

func (q queue) path(elements ...string) string {
	return filepath.Join(append([]string{string(q)}, elements...)...)
}

// prepare makes the directories that are missing.
func (q queue) prepare() error {
	for _, dir := range []string{"new", "busy", "done"} {
		if err := os.MkdirAll(q.path(dir), 0o777); err != nil {
			return err
		}
	}
	return nil
}

// take takes the first job for that worker, by a rename that only one of several
// workers succeeds with; nil is none.
func (q queue) take(worker string) (*job, error) {
	jobs, err := os.ReadDir(q.path("new"))
	if err != nil {
		return nil, err
	}
	for _, entry := range jobs {
		j := &job{name: entry.Name(), busy: q.path("busy", worker+"-"+entry.Name())}
		err := os.Rename(q.path("new", j.name), j.busy)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another worker was faster
		}
		if err != nil {
			return nil, err
		}
		return j, j.read()
	}
	return nil, nil
}

func (j *job) read() error {
	text, err := os.ReadFile(j.busy)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(orElse(strings.TrimSpace(string(text)), "100ms"))
	if err != nil || d < 0 {
		j.refused = fmt.Sprintf("%q is not how long a job takes, such as 200ms", text)
		d = 0
	}
	j.takes = d
	return nil
}

// finish writes the result, whole or not at all, and forgets that the job was
// busy. A job that has a result already is an error: it was done twice.
func (q queue) finish(j *job, r result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// In busy/, so that who looks into done/ sees results only.
	draft := j.busy + ".result"
	if err := writeDurably(draft, append(text, '\n')); err != nil {
		return err
	}
	// Not a rename, which would write over another result without a word.
	if err := os.Link(draft, q.path("done", j.name)); err != nil {
		return fmt.Errorf("a result of %s: %w", j.name, err)
	}
	return errors.Join(os.Remove(draft), os.Remove(j.busy))
}

func writeDurably(path string, text []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
