package proxy

import (
	"encoding/binary"
	"net"
	"strings"
	"sync"
)

// webSocket is the client's end of a WebSocket (RFC 6455), which can be told to go.
type webSocket struct {
	net.Conn

	// mu is held for the time of a write.
	mu     sync.Mutex
	frames frames
	// begun is set when the head of the answer is out, asked when the client is to be
	// told, and told when it has been.
	begun, asked, told bool
}

// newWebSocket returns nil when the protocol is another.
func newWebSocket(conn net.Conn, protocol string) *webSocket {
	if !strings.EqualFold(protocol, "websocket") {
		return nil
	}
	return &webSocket{Conn: conn}
}

// begin is called when frames may follow.
func (w *webSocket) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	_ = w.tell()
}

// goAway has the client be told, as soon as the frame that is on its way has ended,
// that the server goes away. The client answers that to the upstream, which then ends
// the connection as it would at any other time.
func (w *webSocket) goAway() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = true
	_ = w.tell()
}

// tell sends a close frame if it is time for one. Whoever reads or writes the
// connection next finds out if it is broken. The lock is held.
func (w *webSocket) tell() error {
	if !w.asked || w.told || !w.begun || !w.frames.between() {
		return nil
	}
	w.told = true
	// Final, opcode 8, two bytes without a mask: the status 1001, "going away"
	// (sections 5.5.1 and 7.4.1).
	_, err := w.Conn.Write([]byte{0x88, 2, 1001 >> 8, 1001 & 0xff})
	return err
}

// Write passes on what the upstream sends. After the close frame nothing may follow
// (section 5.5.1), so that the rest is dropped.
func (w *webSocket) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(p) && err == nil {
		if w.told {
			return len(p), nil
		}
		piece := p[n:]
		if w.asked {
			piece = piece[:w.frames.next(piece)]
		} else {
			w.frames.follow(piece)
		}
		var written int
		written, err = w.Conn.Write(piece)
		n += written
		if err == nil {
			err = w.tell()
		}
	}
	return n, err
}

// CloseWrite sends the end and leaves the other direction open.
func (w *webSocket) CloseWrite() error { return closeWrite(w.Conn) }

// frames follows one direction of a WebSocket to know where a frame ends (RFC 6455
// section 5.2). What the frames carry doesn't matter.
type frames struct {
	// head has the first bytes of a frame whose head isn't complete.
	head [14]byte
	have int
	// left is how much is to come of the frame's payload.
	left uint64
}

// between reports whether the last frame has ended and none has begun.
func (f *frames) between() bool { return f.have == 0 && f.left == 0 }

// follow takes bytes of any number of frames.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		p = p[f.next(p):]
	}
}

// next takes bytes up to the end of a frame, and returns how many these are.
func (f *frames) next(p []byte) (n int) {
	for n < len(p) {
		if f.left > 0 {
			part := min(f.left, uint64(len(p)-n))
			f.left -= part
			n += int(part)
		} else {
			f.head[f.have] = p[n]
			f.have++
			n++
			if f.have < 2 || f.have < f.headSize() {
				continue
			}
			f.left, f.have = f.payload(), 0
		}
		if f.left == 0 {
			return n
		}
	}
	return n
}

// headSize is known from the first two bytes.
func (f *frames) headSize() int {
	size := 2
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 {
		size += 4
	}
	return size
}

// payload is the length of what follows a complete head.
func (f *frames) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}
