package proxy

import "syscall"

const (
	// spliceMin is how long a body has to be for it to pay to have the kernel pass it on,
	// in bytes.
	spliceMin = 256 << 10
	// pipeSize is how much a pipe takes.
	pipeSize = 256 << 10
	// maxPipes is how many pipes a loop keeps for the next one who needs one.
	maxPipes = 16
)

// pipe is a pipe through which the kernel passes a body on without copying it
// (splice(2)).
type pipe struct {
	in, out int
	// have is how many bytes are in it.
	have int
}

// pipes are a loop's pipes that nobody uses.
type pipes struct{ free []*pipe }

// get returns an empty pipe, or nil when there can't be one.
func (p *pipes) get() *pipe {
	if n := len(p.free); n > 0 {
		pipe := p.free[n-1]
		p.free = p.free[:n-1]
		return pipe
	}
	return newPipe()
}

// put gives a pipe back, which may be nil. One that isn't empty is closed.
func (p *pipes) put(pipe *pipe) {
	switch {
	case pipe == nil:
	case pipe.have > 0 || len(p.free) >= maxPipes:
		pipe.close()
	default:
		p.free = append(p.free, pipe)
	}
}

func (p *pipes) close() {
	for _, pipe := range p.free {
		pipe.close()
	}
	p.free = nil
}

func (p *pipe) close() {
	closeFD(p.in)
	closeFD(p.out)
}

// splice passes on the next part of the body, at which nobody here looks. It returns false for more when one of the
// two connections can't go on, and for alive when the exchange has ended.
func (x *exchange) splice() (more, alive bool) {
	a, c := &x.answer, x.client
	if a.pipe.have == 0 && x.up.readable {
		n, errno := spliceFD(x.up.fd, a.pipe.in, int(min(a.left, pipeSize)))
		switch {
		case errno == syscall.EAGAIN:
			x.up.readable = false
		case errno != 0 || n == 0:
			x.breakOff(truncated)
			return false, false
		}
		a.pipe.have = n
		a.got += int64(n)
		a.left -= int64(n)
	}
	if a.pipe.have == 0 || !c.writable {
		return false, true
	}
	n, errno := spliceFD(a.pipe.out, c.fd, a.pipe.have)
	switch {
	case errno == syscall.EAGAIN:
		c.writable = false
		return false, true
	case errno != 0:
		x.gone()
		return false, false
	}
	x.since = x.loop.now
	a.pipe.have -= n
	x.sent += int64(n)
	a.done = a.left == 0 && a.pipe.have == 0
	return true, true
}
