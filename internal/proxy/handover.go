package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// handoverProtocol is what the connection changes to for a handover.
	handoverProtocol = "segue-handover"
	// handoverTimeout bounds each wait of a handover, on both sides.
	handoverTimeout = 5 * time.Second
	// lastWords is how long a proxy that was taken over can still be asked for its counts
	// after its end. They are asked for as soon as they are there; the time is for a
	// third proxy that takes over just then.
	lastWords = 2 * time.Second
)

// A handover, between a proxy that serves and the next one, which connects to its control
// socket. Until the word that the next one serves, either may go away and nothing has
// changed.
//
//	next     POST /v1/handover, with the grace
//	serving  101, and after one byte the first frame: its table and who it is
//	next     puts the table in force; one byte
//	serving  accepts no more; the second frame: what was counted before it, and the
//	         proxies that it has taken over from, which are the next one's now
//	next     accepts
//	serving  a frame for each connection of a client, as soon as that waits for a request
type (
	handoverRequest struct {
		// Grace is how long what can't be passed on may go on.
		Grace time.Duration `json:"grace"`
	}
	handoverTable struct {
		Table   json.RawMessage `json:"table"`
		Pid     int             `json:"pid"`
		Version string          `json:"version"`
	}
	handoverCounts struct {
		// Epoch is empty, and the rest is, when the proxy was taken over from before: it
		// has given its counts away.
		Epoch        string        `json:"epoch,omitempty"`
		Age          time.Duration `json:"age,omitempty"`
		Base         Stats         `json:"base"`
		Zero         Stats         `json:"zero"`
		Predecessors []Predecessor `json:"predecessors,omitempty"`
	}
)

// handOver lets another proxy take over.
func (p *Proxy) handOver(w http.ResponseWriter, r *http.Request) {
	var in handoverRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&in)
	// again is set when one has taken over before, and has died or passed it on.
	again := p.leaving.Load()
	if err == nil {
		err = p.mayHandOver()
	}
	if err != nil {
		answerControl(w, http.StatusConflict, controlError{err.Error()})
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		answerControl(w, http.StatusInternalServerError, controlError{err.Error()})
		return
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		err = fmt.Errorf("the control connection is a %T, want a unix socket", conn)
	} else {
		err = p.replacedBy(uc, in.Grace, again)
	}
	if err == nil {
		return
	}
	_ = conn.Close()
	p.cfg.Logger.Warn("another proxy wanted to take over and did not", "error", err)
}

func (p *Proxy) mayHandOver() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version == 0 {
		return errors.New("this proxy has no table yet, and nothing to hand over")
	}
	return nil
}

func (p *Proxy) replacedBy(conn *net.UnixConn, grace time.Duration, again bool) error {
	version, err := p.offer(conn)
	if err != nil {
		return err
	}
	return p.giveUp(conn, grace, again, version)
}

// offer sends what the next proxy needs to serve, and returns when that could, with the
// version of the table that it has.
func (p *Proxy) offer(conn *net.UnixConn) (version uint64, err error) {
	_ = conn.SetDeadline(time.Now().Add(handoverTimeout))
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + handoverProtocol + "\r\n\r\n"
	if _, err := conn.Write([]byte(head)); err != nil {
		return 0, err
	}
	var ready [1]byte
	if _, err := io.ReadFull(conn, ready[:]); err != nil {
		return 0, fmt.Errorf("wait for the next proxy: %w", err)
	}
	p.mu.Lock()
	version, content := p.version, p.content
	p.mu.Unlock()
	table, err := json.Marshal(handoverTable{Table: json.RawMessage(content), Pid: os.Getpid(), Version: p.cfg.Version})
	if err != nil {
		return 0, err
	}
	if err := writeFrame(conn, frame{data: table, fd: -1}); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(conn, ready[:]); err != nil {
		return 0, fmt.Errorf("wait for the next proxy to have the table in force: %w", err)
	}
	return version, conn.SetDeadline(time.Time{})
}

// giveUp has the next proxy serve from now on, and passes connections to it.
func (p *Proxy) giveUp(conn *net.UnixConn, grace time.Duration, again bool, version uint64) error {
	counts, err := p.giveAway(again, version)
	if err != nil {
		return err
	}
	text, err := json.Marshal(counts)
	if err == nil {
		err = writeFrame(conn, frame{data: text, fd: -1})
	}
	if err != nil {
		p.cfg.Logger.Warn("the proxy that was to take over has gone", "error", err)
	}
	ps := newPasser(p, conn)
	before := p.passing.Swap(ps)
	p.closing.Store(false)
	select {
	case p.taken <- grace:
	default:
	}
	for _, l := range p.loops {
		l.do(func() {
			l.deafen()
			l.passer = ps
			for _, c := range l.clients() {
				if c.state == awaiting || c.state == inHead {
					l.again(c)
				}
			}
		})
	}
	if !p.links.Go(ps.run) {
		_ = conn.Close()
	}
	if before != nil {
		_ = before.conn.Close() // what it had to pass on goes by the new one
	}
	return nil
}

// giveAway returns what was counted before this proxy, of which it is no more in charge.
func (p *Proxy) giveAway(again bool, version uint64) (handoverCounts, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.leaving.Load() != again:
		return handoverCounts{}, errors.New("another one was faster")
	case !again && p.version != version:
		return handoverCounts{}, fmt.Errorf("table %d has come in force meanwhile, and it has table %d", p.version, version)
	}
	p.accepting.Store(false)
	if p.leaving.Swap(true) {
		return handoverCounts{}, nil
	}
	counts := handoverCounts{Epoch: p.epoch, Age: time.Since(p.born), Base: p.base, Zero: p.zero}
	for _, pr := range p.predecessors {
		counts.Predecessors = append(counts.Predecessors, pr.Predecessor)
		pr.forget()
	}
	p.base, p.zero, p.predecessors = Stats{}, Stats{}, nil
	return counts, nil
}

// awaitEmpty returns when nothing is in flight any more, or when it is time to break off
// what is, after the grace that is left. What lives long ends as in a drain.
func (p *Proxy) awaitEmpty(ctx context.Context, grace time.Duration) (left time.Duration, err error) {
	p.cfg.Logger.Info("another proxy has taken over", "grace", grace)
	defer p.depart(grace)()
	end := time.NewTimer(grace)
	defer end.Stop()
	// Proxies that this one has taken over from still pass connections on to it, until the
	// next one has told them that they are its own. Those go on to the next one, too.
	told := time.NewTimer(handoverTimeout)
	defer told.Stop()
	for p.clients.open.Load() > 0 || p.incoming.open() {
		select {
		case <-p.left:
		case <-told.C:
			p.incoming.stop()
		case <-end.C:
			return 0, nil
		case left = <-p.shutdown:
			return left, nil
		case <-ctx.Done():
			return p.cfg.ShutdownGrace, nil
		case err = <-p.failed:
			return p.cfg.ShutdownGrace, err
		}
	}
	return 0, nil
}

// last returns the counts at the end, when there is one.
func (p *Proxy) last(ctx context.Context, _ struct{}) (Stats, error) {
	select {
	case <-p.ended:
		return p.ownStats(ctx)
	case <-ctx.Done():
		return Stats{}, ctx.Err()
	}
}
