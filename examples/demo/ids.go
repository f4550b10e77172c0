package main

import "sync"

// keptIDs is how many IDs are remembered: those of the last requests, among which a
// request that is sent twice is found.
const keptIDs = 100_000

// idCounter counts how often an instance has got the request of an ID.
type idCounter struct {
	mu    sync.Mutex
	times map[string]int
	// order is a ring of the IDs, of which next is the oldest.
	order []string
	next  int
}

func newIDCounter() *idCounter { return &idCounter{times: map[string]int{}} }

// count counts one more request, and returns how many there were.
func (c *idCounter) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times[id]++
	if c.times[id] > 1 {
		return c.times[id]
	}
	if len(c.order) < keptIDs {
		c.order = append(c.order, id)
		return 1
	}
	delete(c.times, c.order[c.next])
	c.order[c.next] = id
	c.next = (c.next + 1) % keptIDs
	return 1
}
