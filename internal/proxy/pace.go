package proxy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	// maxSpacing is the longest between two endings of one pace. When there are few, they
	// begin so late that each has nearly all of its time.
	maxSpacing = time.Second
	// maxFarewell is how long before the deadline the last client is told to go, at most,
	// so that it can: as long as a closing handshake may take over a slow line, with
	// what was still to be said.
	maxFarewell = 5 * time.Second
	// paceTick is the shortest time between two looks at what is in flight, as each look
	// is at all of it.
	paceTick = 20 * time.Millisecond
)

// DrainTimes is how long requests may go on from the beginning of a drain.
type DrainTimes struct {
	// All is for those for which no path has another time.
	All time.Duration `json:"all"`
	// Paths have times of their own; of several that fit the longest path counts.
	Paths []PathTime `json:"paths,omitempty"`
}

// PathTime is the time of the requests whose path is Path, or begins with it and a slash.
type PathTime struct {
	Path string        `json:"path"`
	Time time.Duration `json:"time"`
}

// term is a part of a drain: the requests with one deadline. In the first half of its time
// nothing is done to them. In the second those end that live long, one after the other: the
// clients that can be told to go are, so that the last of them still has time for that, and
// the others are cut. What is left at the deadline is cut.
type term struct {
	// prefix is that of the paths, without a slash at its end; empty fits all.
	prefix    string
	end       time.Time
	tell, cut pace
}

// terms returns the parts of a drain that begins now, with that for all paths last.
func (t DrainTimes) terms(now time.Time) []*term {
	paths := slices.Clone(t.Paths)
	slices.SortStableFunc(paths, func(a, b PathTime) int { return len(b.Path) - len(a.Path) })
	var all []*term
	for _, p := range append(paths, PathTime{Time: t.All}) {
		half, end := now.Add(p.Time/2), now.Add(p.Time)
		all = append(all, &term{
			prefix: strings.TrimRight(p.Path, "/"), end: end,
			tell: newPace(half, end.Add(-min(maxFarewell, p.Time/4))),
			cut:  newPace(half, end),
		})
	}
	return all
}

func (t *term) fits(path string) bool {
	after, ok := strings.CutPrefix(path, t.prefix)
	return ok && (after == "" || after[0] == '/' || t.prefix == "")
}

// pace spreads endings evenly over a time, so that clients don't come back all at once: the
// last is at its end, the others before that, as far apart as there is time for, and no
// further than maxSpacing. So nothing ends earlier than it has to.
type pace struct {
	// last is the time of the ending before, or the beginning; end that of the last one.
	last, end time.Time
	// shift is how much earlier the next one comes, as a part of the spacing, so that
	// several paces don't keep in step.
	shift float64
}

func newPace(begin, end time.Time) pace { return pace{last: begin, end: end, shift: newShift()} }

func newShift() float64 { return rand.Float64() / 4 }

// due returns how many of those that are left are to end by now, and when the next is.
// The zero time is never.
func (p *pace) due(left int, now time.Time) (n int, next time.Time) {
	for ; n < left; n++ {
		even, next := p.next(left - n)
		if next.After(now) {
			return n, next
		}
		p.last, p.shift = even, newShift()
	}
	return n, time.Time{}
}

// next is the time of the next ending when so many are left, and what it would be if all were
// equally far apart.
func (p *pace) next(left int) (even, next time.Time) {
	spacing := min(p.end.Sub(p.last)/time.Duration(left), maxSpacing)
	even = p.end.Add(-time.Duration(left-1) * spacing)
	if left == 1 {
		return even, even
	}
	return even, even.Add(-time.Duration(p.shift * float64(spacing)))
}

// shape is what a request in flight is for a drain.
type shape uint8

const (
	// asAnswer: it will end by itself.
	asAnswer shape = iota
	// asStream: its answer has no end of its own.
	asStream
	asWebSocket
	// asTunnel: it is an upgraded connection of another protocol.
	asTunnel
)

// shapeOf returns the shape of an answer without a length, by its Content-Type: events (HTML
// section 9.2) and calls of gRPC whose answer has begun may go on for ever. Anything else
// is taken for something that ends, such as a download.
func shapeOf(contentType string) shape {
	for _, stream := range []string{"text/event-stream", "application/grpc"} {
		if len(contentType) >= len(stream) && strings.EqualFold(contentType[:len(stream)], stream) {
			return asStream
		}
	}
	return asAnswer
}

// canBeTold reports whether the client can be told to go, and is to be.
func (f *flight) canBeTold() bool { return f.goAway != nil && f.account.tells }

// paced returns the pace by which a request of a term ends; nil is none.
func (t *term) paced(f *flight) *pace {
	switch {
	case f.leaving:
		return nil
	case f.canBeTold():
		return &t.tell
	case f.shape != asAnswer:
		return &t.cut
	}
	return nil
}

// tell has the client of a WebSocket be told to go.
func (f *flight) tell() {
	f.leaving, f.told = true, true
	go f.goAway() // which may wait for a client that takes nothing
}

// Ending counts requests by how they ended.
type Ending struct {
	// Finished ended by themselves. Told were told to go and went before the
	// deadline. Cut were cut, at the deadline or, of those that live long, before it.
	Finished uint64 `json:"finished"`
	Told     uint64 `json:"told"`
	Cut      uint64 `json:"cut"`
}

// Endings counts how requests ended that were in flight when a drain of their release
// began, or the end of their proxy, by what they were.
type Endings struct {
	// Answers are requests whose answer ends by itself, or hasn't begun.
	Answers Ending `json:"answers"`
	// Streams are answers of text/event-stream, and calls of gRPC whose answer had begun.
	Streams Ending `json:"streams"`
	// WebSockets and Tunnels are upgraded connections, of that protocol and of others.
	WebSockets Ending `json:"websockets"`
	Tunnels    Ending `json:"tunnels"`
}

// add counts an ending.
func (e *Endings) add(f *flight, o outcome) {
	to := e.of(f.shape)
	switch {
	case o == cut:
		to.Cut++
	case f.told:
		to.Told++
	default:
		to.Finished++
	}
}

func (e *Endings) of(s shape) *Ending {
	return [...]*Ending{asAnswer: &e.Answers, asStream: &e.Streams, asWebSocket: &e.WebSockets, asTunnel: &e.Tunnels}[s]
}

// Sum counts the endings of all of them.
func (e Endings) Sum() Ending {
	return e.Answers.plus(e.Streams).plus(e.WebSockets).plus(e.Tunnels)
}

// Plus returns the sums of e and o.
func (e Endings) Plus(o Endings) Endings {
	return Endings{
		Answers: e.Answers.plus(o.Answers), Streams: e.Streams.plus(o.Streams),
		WebSockets: e.WebSockets.plus(o.WebSockets), Tunnels: e.Tunnels.plus(o.Tunnels),
	}
}

// Minus returns what was added to earlier to get e.
func (e Endings) Minus(earlier Endings) Endings {
	return Endings{
		Answers: e.Answers.minus(earlier.Answers), Streams: e.Streams.minus(earlier.Streams),
		WebSockets: e.WebSockets.minus(earlier.WebSockets), Tunnels: e.Tunnels.minus(earlier.Tunnels),
	}
}

func (e Ending) plus(o Ending) Ending {
	return Ending{e.Finished + o.Finished, e.Told + o.Told, e.Cut + o.Cut}
}

func (e Ending) minus(o Ending) Ending {
	return Ending{e.Finished - o.Finished, e.Told - o.Told, e.Cut - o.Cut}
}
