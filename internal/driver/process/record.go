//go:build linux

package process

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/segue-deploy/segue/internal/driver"
)

// phase is what is meant to become of an instance.
type phase string

const (
	running  phase = "running"
	stopping phase = "stopping"
	failed   phase = "failed"
)

// record is what is on disk about an instance: all that the next run of segue
// needs to go on with it.
type record struct {
	Release driver.Release `json:"release"`
	Index   int            `json:"index"`
	Phase   phase          `json:"phase"`

	// Port is reserved for the instance as long as it exists; 0 with a socket.
	Port   int    `json:"port,omitempty"`
	RunDir string `json:"run_dir"`

	// Marker names the last start; it is there before the process is, and goes
	// when none of its processes lives. Boot, Pid and Ticks name its leader; Pid
	// is 0 from before the start until it is known, and again after the end.
	Marker string `json:"marker,omitempty"`
	Boot   string `json:"boot,omitempty"`
	Pid    int    `json:"pid,omitempty"`
	Ticks  uint64 `json:"ticks,omitempty"`

	// FirstStarted is when the first process was started, Started the last.
	FirstStarted time.Time `json:"first_started,omitzero"`
	Started      time.Time `json:"started,omitzero"`
	// ReadySince is zero unless the present process is ready.
	ReadySince time.Time `json:"ready_since,omitzero"`
	// WasReady: the present process was ready. EverReady: any of them was.
	WasReady  bool `json:"was_ready,omitempty"`
	EverReady bool `json:"ever_ready,omitempty"`

	// Down: has exited by itself and hasn't been started again.
	Down     bool `json:"down,omitempty"`
	Restarts int  `json:"restarts,omitempty"`
	// Streak is how many exits by itself came in a row, without a minute of life;
	// see crash.go.
	Streak int `json:"streak,omitempty"`
	// Message is about the last exit.
	Message string `json:"message,omitempty"`
}

func (r *record) id() string { return instanceID(r.Release.Service, r.Release.ID, r.Index) }

func instanceID(service, release string, index int) string {
	return fmt.Sprintf("%s-%s-%d", service, release, index)
}

func (r *record) save(path string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeDurably(path, content)
}

// parseRecord reads the record of the instance id.
func parseRecord(content []byte, id string) (record, error) {
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, err
	}
	if err := checkNames(r.Release.Service, r.Release.ID); err != nil {
		return record{}, err
	}
	if r.id() != id || r.Index < 1 || r.RunDir == "" {
		return record{}, fmt.Errorf("it is the record of %q", r.id())
	}
	switch r.Phase {
	case running, stopping, failed:
		return r, nil
	}
	return record{}, fmt.Errorf("phase is %q", r.Phase)
}
