package main

import (
	"fmt"
	"path/filepath"
)

// config is what the environment says.
type config struct {
	queue             queue
	release, instance string
	// notify is the socket to be ready on; empty is none.
	notify    string
	behaviour behaviour
}

// configFrom reads the environment; whatever is wrong in it is an error, so that
// a mistake is not taken for good behaviour.
func configFrom(getenv func(string) string) (config, error) {
	b, err := parseBehaviour(getenv("WORKER_BEHAVIOUR"))
	if err != nil {
		return config{}, err
	}
	// A relative one would be in the release's directory, which is read-only and
	// another with each release.
	dir := getenv("QUEUE_DIR")
	if !filepath.IsAbs(dir) {
		return config{}, fmt.Errorf("QUEUE_DIR=%s: set it to the absolute path of a directory that outlives the release", dir)
	}
	return config{
		queue:     queue(dir),
		release:   orElse(getenv("SEGUE_RELEASE"), "local"),
		instance:  orElse(getenv("SEGUE_INSTANCE"), "local-1"),
		notify:    getenv("NOTIFY_SOCKET"),
		behaviour: b,
	}, nil
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
