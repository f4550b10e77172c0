package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// config is what the environment says.
type config struct {
	// network and address are where to listen, as in [net.Listen].
	network, address           string
	release, instance, version string
	behaviour                  behaviour
	// seen is a file that every request is noted in; empty is none.
	seen string
}

// configFrom reads the environment; whatever is wrong in it is an error, so that
// a mistake is not taken for good behaviour.
func configFrom(getenv func(string) string) (config, error) {
	b, err := parseBehaviour(getenv("DEMO_BEHAVIOUR"))
	if err != nil {
		return config{}, err
	}
	c := config{
		release:   orElse(getenv("SEGUE_RELEASE"), "local"),
		instance:  orElse(getenv("SEGUE_INSTANCE"), "local-1"),
		version:   getenv("DEMO_VERSION"),
		behaviour: b,
		seen:      getenv("DEMO_SEEN"),
	}
	port, socket := getenv("PORT"), getenv("SOCKET")
	switch {
	case port != "" && socket != "":
		return config{}, errors.New("both PORT and SOCKET are set: set one")
	case socket != "":
		c.network, c.address = "unix", socket
	case port != "":
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return config{}, fmt.Errorf("PORT=%s: not a port from 1 to 65535", port)
		}
		c.network, c.address = "tcp", net.JoinHostPort(orElse(getenv("HOST"), "127.0.0.1"), port)
	default:
		return config{}, errors.New("no address to listen on: set PORT or SOCKET")
	}
	return c, nil
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
