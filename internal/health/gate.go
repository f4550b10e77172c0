package health

// Gate turns a row of answers into a state that doesn't flap: it opens after a
// number of good answers in a row and closes after a number of bad ones. It
// begins closed. A Gate is for one goroutine.
type Gate struct {
	healthy, unhealthy int
	open               bool
	// against counts the answers in a row that speak against the present state.
	against int
}

// NewGate returns a closed gate that opens after healthy good answers in a row
// and closes after unhealthy bad ones. Numbers below 1 stand for 1.
func NewGate(healthy, unhealthy int) *Gate {
	return &Gate{healthy: max(healthy, 1), unhealthy: max(unhealthy, 1)}
}

// Observe takes one answer. It returns whether the gate is open now, and whether
// this answer has opened or closed it.
func (g *Gate) Observe(ok bool) (open, changed bool) {
	if ok == g.open {
		g.against = 0
		return g.open, false
	}
	g.against++
	needed := g.healthy
	if g.open {
		needed = g.unhealthy
	}
	if g.against < needed {
		return g.open, false
	}
	g.open, g.against = ok, 0
	return g.open, true
}

// Open reports whether the gate is open.
func (g *Gate) Open() bool { return g.open }
