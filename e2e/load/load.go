// Package load is what the load client asks the example services for, and how it
// checks their answers: [Demo] is for examples/demo, [Ledger] for examples/ledger. The
// client itself, and the count, is internal/prove.
package load

import (
	"cmp"
	"encoding/json"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"github.com/segue-deploy/segue/internal/prove"
)

// Demo asks examples/demo.
type Demo struct {
	// Get, Echo and Bytes are the weights of the kinds: {Get: 3, Echo: 1} is one
	// POST in four. Default {Get: 6, Echo: 3, Bytes: 1}.
	Get, Echo, Bytes int
	// SlowFor is how long a slow answer takes at most; it is at least half of that.
	// Default 5 s.
	SlowFor time.Duration
	// Seed is of the bodies.
	Seed uint64
}

// Requests is a [prove.Source] of one kind after another, and of nothing but slow
// answers for slow clients.
func (d Demo) Requests(c prove.Client) func(id string) *prove.Request {
	if d.Get+d.Echo+d.Bytes == 0 {
		d.Get, d.Echo, d.Bytes = 6, 3, 1
	}
	d.SlowFor = cmp.Or(d.SlowFor, 5*time.Second)
	v := visitor{Demo: d, Client: c, bodies: randomBytes(d.Seed, 2*maxBody)}
	return v.next
}

func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = mathrand.NewChaCha8(key).Read(b) // never fails
	return b
}

// said is what a service's JSON says.
type said struct {
	Release string `json:"release"`
	LoadID  string `json:"load_id"`
	Length  *int64 `json:"length"`
	SHA256  string `json:"sha256"`
	// Of examples/ledger.
	ID    string `json:"id"`
	Row   int64  `json:"row"`
	Entry *entry `json:"entry"`
}

// readJSON reads the body as JSON that must name the id and the release of the header.
func readJSON(resp *http.Response, id string) (said, error) {
	var s said
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, prove.Mismatchf("the body is not the JSON it should be: %v", err)
	}
	if s.LoadID != id {
		return s, prove.Mismatchf("the body answers %q", s.LoadID)
	}
	if h := resp.Header.Get(prove.HeaderRelease); s.Release != h {
		return s, prove.Mismatchf("the body is of %q, the header of %q", s.Release, h)
	}
	return s, nil
}
