// Package journal is Segue's durable record: an append-only list of events in
// SQLite. What stands in it has happened or was meant to happen; everything else
// that the daemon knows is computed from it.
package journal

import (
	"encoding/json"
	"time"
)

// Record is one event. The journal gives it its ID and doesn't look inside Data.
type Record struct {
	// ID grows by at least 1 from record to record and is never used again.
	ID int64     `json:"id"`
	At time.Time `json:"at"`
	// Service names the service that the record is about.
	Service string `json:"service"`
	// Deployment is the deployment's number, 0 for none.
	Deployment int `json:"deployment,omitempty"`
	// Kind says what Data holds.
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data,omitempty"`
}
