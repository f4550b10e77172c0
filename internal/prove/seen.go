package prove

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// maxLine is how long a line of a service's log may be, in bytes.
const maxLine = 1 << 20

// LogReport is what a service's own log has of the requests.
type LogReport struct {
	// Logged is how many of them are there.
	Logged uint64 `json:"logged"`
	// Missing is how many were answered and are not there; the service doesn't log
	// each request, or somebody else has answered.
	Missing uint64 `json:"missing"`
	// Duplicated is how many are there more than once though they may not be sent
	// again, Repeated the same of those that may.
	Duplicated uint64 `json:"duplicated"`
	Repeated   uint64 `json:"repeated"`
	// Examples are IDs of the first few that are duplicated.
	Examples []string `json:"examples,omitempty"`
}

// CheckLog looks for the IDs of the requests in a service's log, in which each line has
// at most one of them, in whatever form. It is for the time after Run has returned, and
// the log has to be complete by then.
func (g *Generator) CheckLog(log io.Reader) (LogReport, error) {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	var r LogReport
	once, more := map[int]*marks{}, map[int]*marks{}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		client, number, ok := g.idIn(lines.Bytes())
		switch {
		case !ok:
		case !marksOf(once, client).has(number):
			marksOf(once, client).set(number)
			r.Logged++
		case !marksOf(more, client).has(number):
			marksOf(more, client).set(number)
			r.again(fmt.Sprintf("%s-%d-%d", g.id, client, number), marksOf(g.ledger.once, client).has(number))
		}
	}
	if err := lines.Err(); err != nil {
		return LogReport{}, fmt.Errorf("read the service's log: %w", err)
	}
	for client, answered := range g.ledger.answered {
		r.Missing += answered.without(marksOf(once, client))
	}
	return r, nil
}

// again counts a request that is there more than once.
func (r *LogReport) again(id string, onlyOnce bool) {
	if !onlyOnce {
		r.Repeated++
		return
	}
	r.Duplicated++
	if len(r.Examples) < 5 {
		r.Examples = append(r.Examples, id)
	}
}

// idIn finds the ID of one of the generator's requests in a line.
func (g *Generator) idIn(line []byte) (client int, number uint64, ok bool) {
	_, rest, found := bytes.Cut(line, []byte(g.id+"-"))
	if !found {
		return 0, 0, false
	}
	digits := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 || rest[digits] != '-' {
		return 0, 0, false
	}
	client, err := strconv.Atoi(string(rest[:digits]))
	if err != nil {
		return 0, 0, false
	}
	rest = rest[digits+1:]
	if end := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	number, err = strconv.ParseUint(string(rest), 10, 64)
	// What nobody has sent would take memory.
	return client, number, err == nil && number <= g.ledger.sentCount && client <= g.cfg.KeepAlive+g.cfg.Fresh+g.cfg.Slow
}

// marks is a set of small numbers.
type marks struct{ words []uint64 }

func marksOf(all map[int]*marks, client int) *marks {
	if all[client] == nil {
		all[client] = &marks{}
	}
	return all[client]
}

func (m *marks) set(n uint64) {
	for n/64 >= uint64(len(m.words)) {
		m.words = append(m.words, 0)
	}
	m.words[n/64] |= 1 << (n % 64)
}

func (m *marks) has(n uint64) bool {
	return n/64 < uint64(len(m.words)) && m.words[n/64]&(1<<(n%64)) != 0
}

// without is how many are in m that are not in o.
func (m *marks) without(o *marks) uint64 {
	var n uint64
	for i := range m.words {
		for b := range uint64(64) {
			if k := uint64(i)*64 + b; m.has(k) && !o.has(k) {
				n++
			}
		}
	}
	return n
}
