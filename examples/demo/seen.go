package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

// arrival is a request as an instance got it, and a line of JSON in DEMO_SEEN.
type arrival struct {
	Release  string      `json:"release"`
	Instance string      `json:"instance"`
	LoadID   string      `json:"load_id,omitempty"`
	Method   string      `json:"method"`
	Target   string      `json:"target"`
	Host     string      `json:"host"`
	Header   http.Header `json:"header"`
}

func (s *service) arrival(r *http.Request) arrival {
	return arrival{
		Release: s.release, Instance: s.instance, LoadID: r.Header.Get("X-Load-Id"),
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header,
	}
}

// seenFile is a file that the instances of all releases append to; nil is none.
type seenFile struct{ f *os.File }

// openSeen opens the file, if it has a path.
func openSeen(path string) (*seenFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("DEMO_SEEN: %w", err)
	}
	return &seenFile{f}, nil
}

// note appends a line in one write, so that those of several processes don't mix.
func (s *seenFile) note(a arrival) error {
	if s == nil {
		return nil
	}
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if _, err := s.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("DEMO_SEEN: %w", err)
	}
	return nil
}

func (s *seenFile) close() {
	if s != nil {
		s.f.Close()
	}
}
