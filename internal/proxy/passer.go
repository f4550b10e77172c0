package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// frameHead is the length of a frame's head in bytes: three numbers of 32 bits, big
	// endian, for the length of what follows, the time left in milliseconds, and flags.
	frameHead = 12
	// inHeadFlag is set when what follows is the beginning of a head.
	inHeadFlag = 1
	// maxFrame bounds what follows, in bytes. The table is the longest.
	maxFrame = maxControlBody
	// passTimeout is how long the other proxy may take nothing.
	passTimeout = 10 * time.Second
)

// passer passes the connections of clients on to the proxy that has taken over. Loops
// give it those that wait for a request, and never wait for it.
//
// What the kernel has of a connection, such as bytes that have come and weren't read,
// goes with the descriptor. What was read goes beside it. So nothing is lost on the way,
// and the client sees the same connection go on.
type passer struct {
	p    *Proxy
	conn *net.UnixConn

	mu    sync.Mutex
	queue []handed
	// news, with room for one, is told of something in the queue. gone is closed when
	// the other proxy has ended.
	news chan struct{}
	gone chan struct{}
}

func newPasser(p *Proxy, conn *net.UnixConn) *passer {
	return &passer{p: p, conn: conn, news: make(chan struct{}, 1), gone: make(chan struct{})}
}

// pass gives a connection that waits for a request to the proxy that has taken over.
func (c *clientConn) pass() {
	l := c.loop
	h := handed{begun: true, inHead: c.state == inHead, left: l.timers.left(&c.timer, l.now)}
	h.unread = append(h.unread, c.in[c.start:c.end]...)
	h.fd = c.release()
	c.forgetIn()
	l.passer.push(h)
}

// resume has a connection go on that was served before.
func (c *clientConn) resume(h *handed) {
	if !h.begun {
		return
	}
	if h.inHead {
		c.state = inHead
	}
	if len(h.unread) > 0 {
		c.putBack(h.unread)
	}
	c.loop.timers.set(&c.timer, c.loop.now.Add(h.left))
}

func (ps *passer) push(h handed) {
	ps.mu.Lock()
	ps.queue = append(ps.queue, h)
	ps.mu.Unlock()
	select {
	case ps.news <- struct{}{}:
	default:
	}
}

func (ps *passer) take() []handed {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	all := ps.queue
	ps.queue = nil
	return all
}

// run sends connections until the other proxy ends, or this one; then those that are
// left stay here, and their clients learn with the next answer that it is the last.
func (ps *passer) run() {
	// One may have come in the last moment, when there is nothing to pass on any more.
	defer context.AfterFunc(ps.p.life, func() { _ = ps.conn.Close() })()
	var watching sync.WaitGroup
	watching.Go(func() {
		_, _ = ps.conn.Read(make([]byte, 1)) // it sends nothing more
		close(ps.gone)
	})
	for lost := false; !lost; {
		for i, all := 0, ps.take(); i < len(all) && !lost; i++ {
			if err := ps.send(all[i]); err != nil {
				ps.p.cfg.Logger.Warn("pass a connection on; it stays here", "error", err)
				ps.keep(all[i:])
				lost = true
			}
		}
		if lost {
			break
		}
		select {
		case <-ps.news:
		case <-ps.gone:
			lost = true
		}
	}
	ps.stop()
	_ = ps.conn.Close()
	watching.Wait()
}

// send passes one connection on, which isn't ours then.
func (ps *passer) send(h handed) error {
	flags := uint32(0)
	if h.inHead {
		flags = inHeadFlag
	}
	if err := writeFrame(ps.conn, frame{left: h.left, flags: flags, data: h.unread, fd: h.fd}); err != nil {
		return err
	}
	closeFD(h.fd)
	ps.p.clients.release()
	return nil
}

// keep has connections go on here.
func (ps *passer) keep(all []handed) {
	for _, h := range all {
		l := ps.p.leastBusy(ps.p.loops[0])
		l.load.Add(1)
		l.hand(h)
	}
}

// stop has the loops keep their connections.
func (ps *passer) stop() {
	if ps.p.passing.CompareAndSwap(ps, nil) {
		ps.p.closing.Store(true)
	}
	for _, l := range ps.p.loops {
		l.do(func() {
			if l.passer == ps {
				l.passer = nil
			}
		})
	}
	ps.keep(ps.take())
}

// frame is a message from the proxy that leaves to the one that comes.
type frame struct {
	left  time.Duration
	flags uint32
	data  []byte
	// fd is -1 for none.
	fd int
}

// writeFrame sends a frame. The descriptor goes with the head, of which the peer reads
// no more than that at a time.
func writeFrame(conn *net.UnixConn, f frame) error {
	text := make([]byte, frameHead, frameHead+len(f.data))
	binary.BigEndian.PutUint32(text, uint32(len(f.data)))
	binary.BigEndian.PutUint32(text[4:], uint32(max(f.left, 0)/time.Millisecond))
	binary.BigEndian.PutUint32(text[8:], f.flags)
	text = append(text, f.data...)
	var rights []byte
	if f.fd >= 0 {
		rights = unix.UnixRights(f.fd)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(passTimeout))
	n, _, err := conn.WriteMsgUnix(text, rights, nil)
	if err == nil && n < len(text) {
		_, err = conn.Write(text[n:])
	}
	return err
}

// readFrame waits for a frame. The caller closes its descriptor.
func readFrame(conn *net.UnixConn) (f frame, err error) {
	f.fd = -1
	defer func() {
		if err != nil && f.fd >= 0 {
			closeFD(f.fd)
		}
	}()
	var head [frameHead]byte
	rights := make([]byte, unix.CmsgSpace(4))
	for have := 0; have < frameHead; {
		n, rightsLen, flags, _, err := conn.ReadMsgUnix(head[have:], rights)
		if err != nil {
			return f, err
		}
		if n == 0 {
			return f, io.EOF
		}
		have += n
		if flags&unix.MSG_CTRUNC != 0 {
			return f, fmt.Errorf("a descriptor got lost on the way; is the limit of open files too low?")
		}
		fds, err := descriptors(rights[:rightsLen])
		if err != nil {
			return f, err
		}
		for _, fd := range fds {
			f.fd = fd
		}
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return f, fmt.Errorf("a message of %d bytes, want at most %d", size, maxFrame)
	}
	f.left = time.Duration(binary.BigEndian.Uint32(head[4:])) * time.Millisecond
	f.flags = binary.BigEndian.Uint32(head[8:])
	f.data = make([]byte, size)
	_, err = io.ReadFull(conn, f.data)
	return f, err
}
