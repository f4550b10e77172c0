//go:build linux

package process

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// host is where instances with a port listen.
const host = "127.0.0.1"

// ports hands out TCP ports. A port belongs to an instance from when it is taken
// until it is given back, whether a process listens on it or not.
type ports struct {
	min, max int

	mu    sync.Mutex
	taken map[int]bool
	// next is where the search goes on. It begins anywhere and moves on, so
	// that a port isn't used again soon after it was given back: a client of the
	// old owner may still be calling.
	next int
}

func newPorts(lowest, highest int) *ports {
	return &ports{min: lowest, max: highest, taken: map[int]bool{}, next: lowest + rand.IntN(highest-lowest+1)}
}

// take reserves a port that nobody listens on.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.max - p.min + 1 {
		port := p.next
		if p.next++; p.next > p.max {
			p.next = p.min
		}
		if !p.taken[port] && free(port) {
			p.taken[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d on %s; remove releases, or give the daemon a wider range", p.min, p.max, host)
}

// keep reserves a port of an instance that exists already. It returns false when
// another has it.
func (p *ports) keep(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[port] {
		return false
	}
	p.taken[port] = true
	return true
}

func (p *ports) giveBack(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}

// free reports whether an instance could listen on port.
func free(port int) bool {
	var config net.ListenConfig
	ln, err := config.Listen(context.Background(), "tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}
