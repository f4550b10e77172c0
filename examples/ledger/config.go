package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
)

// config is what the environment says.
type config struct {
	address           string
	dir               string
	release, instance string
	behaviour         behaviour
}

// configFrom reads the environment; whatever is wrong in it is an error, so that
// a mistake is not taken for good behaviour.
func configFrom(getenv func(string) string) (config, error) {
	b, err := parseBehaviour(getenv("LEDGER_BEHAVIOUR"))
	if err != nil {
		return config{}, err
	}
	port := getenv("PORT")
	if port == "" {
		return config{}, errors.New("no port to listen on: set PORT")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return config{}, fmt.Errorf("PORT=%s: not a port from 1 to 65535", port)
	}
	// A relative one would be in the release's directory, which is read-only and
	// another with each release.
	dir := getenv("DATA_DIR")
	if !filepath.IsAbs(dir) {
		return config{}, fmt.Errorf("DATA_DIR=%s: set it to the absolute path of a directory that outlives the release", dir)
	}
	return config{
		address:   net.JoinHostPort(orElse(getenv("HOST"), "127.0.0.1"), port),
		dir:       dir,
		release:   orElse(getenv("SEGUE_RELEASE"), "local"),
		instance:  orElse(getenv("SEGUE_INSTANCE"), "local-1"),
		behaviour: b,
	}, nil
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
