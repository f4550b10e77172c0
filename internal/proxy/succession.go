package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Predecessor is a proxy process from which another has taken over, and which goes on
// until nothing is in flight there.
type Predecessor struct {
	// Socket is where it is controlled.
	Socket  string `json:"socket"`
	Pid     int    `json:"pid"`
	Version string `json:"version"`
}

// predecessor is one as its successor sees it. Whoever asks the successor for something
// means both.
type predecessor struct {
	Predecessor
	client *Client
	// forget ends following it. over is closed when nothing is to be expected of it any
	// more, and its counts are here, or known to be lost.
	forget context.CancelFunc
	over   chan struct{}
	// lost is set when it has died. The successor's mu guards it.
	lost bool
}

// TakeOver makes this proxy, which has no table yet, serve in the place of another, whose
// control socket is at path: with its table, its clients' connections, and its counts.
// It returns when it serves and the other accepts no more. The other goes on for the grace
// at most with what can't be passed on; until its end, Apply, Drain and Stats are about
// both. Its connections come as they begin to wait for a request.
//
// After an error the other serves on as if nothing had been, and this one is to be ended.
//
// One that serves already can take over from a proxy whose successor has died.
func (p *Proxy) TakeOver(ctx context.Context, path string, grace time.Duration) (Predecessor, error) {
	conn, offered, counts, err := p.link(ctx, path, grace)
	if err != nil {
		return Predecessor{}, err
	}
	old := Predecessor{Socket: path, Pid: offered.Pid, Version: offered.Version}
	if counts.Epoch == "" {
		// Its successor has died, and what that had counted is lost. What it has in flight
		// counts here, and nothing that it had before.
		if counts.Zero, err = NewClient(path).statsOwn(ctx); err != nil {
			_ = conn.Close()
			return Predecessor{}, err
		}
		counts.Zero = counts.Zero.asZero()
	}
	p.succeed(counts, old)
	p.links.Go(func() { p.receive(conn) })
	for _, o := range counts.Predecessors {
		p.links.Go(func() { p.linkAgain(o) })
	}
	return old, nil
}

// linkAgain has a predecessor of the predecessor's pass its connections on to this proxy.
// Without that they would come by the other, which is about to end.
func (p *Proxy) linkAgain(o Predecessor) {
	conn, _, _, err := p.link(p.life, o.Socket, 0)
	if err != nil {
		p.cfg.Logger.Warn("a proxy that was replaced before keeps its connections", "pid", o.Pid, "error", err)
		return
	}
	p.receive(conn)
}

// link makes the connection over which a proxy passes on what it has.
func (p *Proxy) link(ctx context.Context, path string, grace time.Duration) (*net.UnixConn, handoverTable, handoverCounts, error) {
	fail := func(err error) (*net.UnixConn, handoverTable, handoverCounts, error) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, handoverTable{}, handoverCounts{}, fmt.Errorf("take over from the proxy at %s: %w", path, err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return fail(err)
	}
	uc := conn.(*net.UnixConn)
	_ = uc.SetDeadline(time.Now().Add(handoverTimeout))
	stop := context.AfterFunc(ctx, func() { _ = uc.SetDeadline(time.Unix(1, 0)) })
	offered, counts, err := p.agree(uc, grace)
	stop()
	if err != nil {
		_ = uc.Close()
		return fail(err)
	}
	_ = uc.SetDeadline(time.Time{})
	return uc, offered, counts, nil
}

// agree is the next proxy's part of a handover, up to the word that it serves.
func (p *Proxy) agree(conn *net.UnixConn, grace time.Duration) (offered handoverTable, counts handoverCounts, err error) {
	if offered, err = askHandover(conn, grace); err != nil {
		return offered, counts, err
	}
	if err = p.prepare(offered.Table); err != nil {
		return offered, counts, err
	}
	if _, err = conn.Write([]byte{1}); err != nil {
		return offered, counts, err
	}
	f, err := readFrame(conn)
	if err == nil {
		err = json.Unmarshal(f.data, &counts)
	}
	if err != nil {
		err = fmt.Errorf("wait for its word: %w", err)
	}
	return offered, counts, err
}

// askHandover returns what the other proxy offers.
func askHandover(conn *net.UnixConn, grace time.Duration) (offered handoverTable, err error) {
	body, err := json.Marshal(handoverRequest{grace})
	if err != nil {
		return offered, err
	}
	if err := switchControl(conn, handoverPath, handoverProtocol, body); err != nil {
		return offered, err
	}
	f, err := readFrame(conn)
	if err != nil {
		return offered, err
	}
	return offered, json.Unmarshal(f.data, &offered)
}

// prepare puts the other proxy's table in force, unless there is one. Connections are not
// accepted yet.
func (p *Proxy) prepare(table json.RawMessage) error {
	var t Table
	if err := json.Unmarshal(table, &t); err != nil {
		return fmt.Errorf("read its table: %w", err)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("its table: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version > 0 {
		return nil
	}
	return p.enforce(t)
}

// succeed goes on with the counts of others, and follows them to their end. Connections
// are accepted from then on.
func (p *Proxy) succeed(counts handoverCounts, old Predecessor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if counts.Epoch != "" {
		p.epoch, p.born = counts.Epoch, time.Now().Add(-counts.Age)
	}
	p.base, p.zero = p.base.plus(counts.Base), p.zero.plus(counts.Zero)
	for _, o := range append(counts.Predecessors, old) {
		pr := &predecessor{Predecessor: o, client: NewClient(o.Socket), over: make(chan struct{})}
		var ctx context.Context
		ctx, pr.forget = context.WithCancel(p.life)
		p.predecessors = append(p.predecessors, pr)
		p.links.Go(func() { p.follow(ctx, pr) })
	}
	p.begin()
}

// follow takes the counts of a predecessor when it ends. Those of one that dies are lost:
// then counting begins anew.
func (p *Proxy) follow(ctx context.Context, pr *predecessor) {
	defer close(pr.over)
	defer pr.forget()
	last, err := pr.client.last(ctx)
	if err != nil && ctx.Err() == nil {
		p.cfg.Logger.Error("the proxy that was replaced has died, with what it had counted and in flight", "pid", pr.Pid, "error", err)
		p.countAnew(ctx, pr)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() == nil {
		p.base = p.base.plus(last.finished())
	}
	p.drop(pr) // or it was given away, or this proxy ends
}

// countAnew begins an epoch without a predecessor whose counts are lost.
func (p *Proxy) countAnew(ctx context.Context, pr *predecessor) {
	p.mu.Lock()
	pr.lost = true
	p.mu.Unlock()
	for ctx.Err() == nil {
		counts := p.counts()
		sum, err := counts.sum(ctx, p)
		if err != nil {
			sleep(ctx, endNotice)
			continue
		}
		p.mu.Lock()
		if ctx.Err() == nil {
			p.epoch, p.born, p.zero = newID(), time.Now(), sum.asZero()
			p.drop(pr)
		}
		p.mu.Unlock()
		return
	}
}

// succession is what makes up the counts of a proxy at one time.
type succession struct {
	epoch      string
	base, zero Stats
	// living are the predecessors whose counts can be had, lost the others.
	living, lost []*predecessor
}

func (p *Proxy) counts() succession {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := succession{epoch: p.epoch, base: p.base, zero: p.zero}
	for _, pr := range p.predecessors {
		if pr.lost {
			c.lost = append(c.lost, pr)
		} else {
			c.living = append(c.living, pr)
		}
	}
	return c
}

// errEnded says that a predecessor has ended while its counts were asked for.
var errEnded = errors.New("it has ended")

// sum returns the counts of this epoch.
func (p *Proxy) sum(ctx context.Context) (Stats, error) {
	c := p.counts()
	for _, pr := range c.lost {
		return Stats{}, pr.ended(ctx, errors.New("it has died"))
	}
	s, err := c.sum(ctx, p)
	if err != nil {
		return Stats{}, err
	}
	s.Epoch = c.epoch
	return s.since(c.zero), nil
}

// sum adds up what this process, those before it and the living predecessors have counted.
func (c *succession) sum(ctx context.Context, p *Proxy) (Stats, error) {
	s, err := p.ownStats(ctx)
	if err != nil {
		return Stats{}, err
	}
	s = s.plus(c.base)
	for _, pr := range c.living {
		other, err := pr.client.statsOwn(ctx)
		if err != nil {
			return Stats{}, pr.ended(ctx, err)
		}
		s = s.plus(other)
	}
	return s, nil
}

// ended returns errEnded when that is why a call has failed, and the call's error otherwise.
func (pr *predecessor) ended(ctx context.Context, err error) error {
	// Its end is noticed at once.
	notice := time.NewTimer(endNotice)
	defer notice.Stop()
	select {
	case <-pr.over:
		return errEnded
	case <-ctx.Done():
	case <-notice.C:
	}
	return fmt.Errorf("the proxy that was replaced (pid %d): %w", pr.Pid, err)
}

// drop forgets a predecessor that has ended. The caller holds mu.
func (p *Proxy) drop(pr *predecessor) {
	// A copy, since others look at the list without the lock.
	p.predecessors = slices.DeleteFunc(slices.Clone(p.predecessors), func(other *predecessor) bool { return other == pr })
}

// receive serves the connections that the other proxy passes on.
func (p *Proxy) receive(conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	if !p.incoming.begin(conn) {
		return
	}
	defer p.incoming.end(conn)
	for {
		f, err := readFrame(conn)
		if err != nil {
			return // it has ended, or this one does
		}
		if f.fd < 0 {
			continue
		}
		p.clients.open.Add(1)
		l := p.leastBusy(p.loops[0])
		l.load.Add(1)
		l.hand(handed{fd: f.fd, from: peerOf(f.fd), begun: true, inHead: f.flags&inHeadFlag != 0, left: f.left, unread: f.data})
	}
}

// incoming are connections over which something may come until stop.
type incoming struct {
	mu      sync.Mutex
	stopped bool
	conns   map[*net.UnixConn]bool
	// changed tells of the end of one.
	changed func()
}

func (in *incoming) begin(conn *net.UnixConn) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return false
	}
	if in.conns == nil {
		in.conns = make(map[*net.UnixConn]bool)
	}
	in.conns[conn] = true
	return true
}

func (in *incoming) end(conn *net.UnixConn) {
	in.mu.Lock()
	delete(in.conns, conn)
	in.mu.Unlock()
	in.changed()
}

// stop lets nothing more come. What has been sent is still received; the peer keeps what
// it then can't send.
func (in *incoming) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopped = true
	for conn := range in.conns {
		_ = conn.CloseRead()
	}
}

func (in *incoming) open() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.conns) > 0
}

// before returns the predecessors.
func (p *Proxy) before() []*predecessor {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.predecessors)
}

// withPredecessors does something with each predecessor at once, and returns the errors of
// those that have not ended meanwhile.
func (p *Proxy) withPredecessors(ctx context.Context, do func(*predecessor) error) error {
	var wg sync.WaitGroup
	all := p.before()
	errs := make([]error, len(all))
	for i, pr := range all {
		wg.Go(func() {
			if err := do(pr); err != nil {
				if err = pr.ended(ctx, err); !errors.Is(err, errEnded) {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// endNotice is how long it may take until the end of a predecessor is known that a call
// has met already.
const endNotice = 500 * time.Millisecond

// errReplaced is for commands to a proxy that are its successor's.
var errReplaced = errors.New("another proxy has taken over from this one")

// links are goroutines that may begin at any time until the end is awaited.
type links struct {
	mu    sync.Mutex
	ended bool
	all   sync.WaitGroup
}

// Go starts f, which must end when the proxy's life does. It reports whether it did:
// afterwards it doesn't.
func (l *links) Go(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.all.Go(f)
	}
	return !l.ended
}

// Wait waits for the end of those that were started, and lets no more begin.
func (l *links) Wait() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.all.Wait()
}
