package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// socketsProtocol is what the connection changes to for the sockets.
	socketsProtocol = "segue-sockets"
	// maxSockets is how many descriptors fit in one message (SCM_MAX_FD of
	// Linux).
	maxSockets = 253
	// socketsTimeout bounds the whole exchange on the side that gives.
	socketsTimeout = 10 * time.Second
)

// handSockets gives copies of the listening sockets' descriptors to the caller.
// After the head of the answer, the caller sends one byte; only then the
// descriptors come, with the JSON list of their addresses: they stick to a byte of
// the stream, and a reader that buffers would lose them.
func (p *Proxy) handSockets(w http.ResponseWriter, listeners []net.Listener) {
	files, names, err := duplicate(listeners)
	defer func() {
		for _, fd := range files {
			unix.Close(fd)
		}
	}()
	var list []byte
	if err == nil {
		list, err = json.Marshal(names)
	}
	if err != nil {
		answerControl(w, http.StatusInternalServerError, controlError{err.Error()})
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		answerControl(w, http.StatusInternalServerError, controlError{err.Error()})
		return
	}
	defer conn.Close()
	if err := giveSockets(conn, list, files); err != nil {
		p.cfg.Logger.Warn("hand the listening sockets over", "error", err)
	}
}

func giveSockets(conn net.Conn, list []byte, files []int) error {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("the control connection is a %T, want a unix socket", conn)
	}
	_ = uc.SetDeadline(time.Now().Add(socketsTimeout))
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + socketsProtocol + "\r\n\r\n"
	if _, err := uc.Write([]byte(head)); err != nil {
		return err
	}
	if _, err := uc.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the caller to be ready: %w", err)
	}
	n, _, err := uc.WriteMsgUnix(list, unix.UnixRights(files...), nil)
	if err == nil && n < len(list) {
		_, err = uc.Write(list[n:])
	}
	return err
}

// duplicate copies the descriptors of listeners. What it has copied so far comes
// with an error, too.
func duplicate(listeners []net.Listener) (files []int, names []string, err error) {
	if len(listeners) > maxSockets {
		return nil, nil, fmt.Errorf("there are %d listening sockets; at most %d can be handed over", len(listeners), maxSockets)
	}
	for _, l := range listeners {
		sc, ok := l.(syscall.Conn)
		if !ok {
			return files, nil, fmt.Errorf("listener %s is a %T, which has no descriptor", l.Addr(), l)
		}
		raw, err := sc.SyscallConn()
		if err != nil {
			return files, nil, fmt.Errorf("listener %s: %w", l.Addr(), err)
		}
		var dupErr error
		err = raw.Control(func(fd uintptr) {
			var file int
			file, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			if dupErr == nil {
				files = append(files, file)
			}
		})
		if err = errors.Join(err, dupErr); err != nil {
			return files, nil, fmt.Errorf("copy the descriptor of listener %s: %w", l.Addr(), err)
		}
		names = append(names, l.Addr().Network()+":"+l.Addr().String())
	}
	return files, names, nil
}

// Sockets returns copies of the sockets on which the proxy accepts clients, as
// files whose names are like "tcp:0.0.0.0:80". The proxy keeps its own.
func (c *Client) Sockets(ctx context.Context) ([]*os.File, error) {
	files, err := c.sockets(ctx)
	if err != nil {
		return nil, c.failed("take the listening sockets", err)
	}
	return files, nil
}

func (c *Client) sockets(ctx context.Context) ([]*os.File, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	files, err := takeSockets(conn.(*net.UnixConn))
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return files, err
}

// switchControl has a connection to a proxy's control change to another protocol. The
// proxy sends nothing of that before it gets a byte, with which this ends.
func switchControl(conn *net.UnixConn, path, protocol string, body []byte) error {
	head := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: segue\r\nContent-Length: %d\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", path, len(body), protocol)
	if _, err := conn.Write(append(head, body...)); err != nil {
		return err
	}
	//nolint:bodyclose // the body is the connection itself, which the caller closes
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return readControlError(resp)
	}
	_, err = conn.Write([]byte{1})
	return err
}

func takeSockets(conn *net.UnixConn) ([]*os.File, error) {
	if err := switchControl(conn, socketsPath, socketsProtocol, nil); err != nil {
		return nil, err
	}
	list := make([]byte, 1<<20)
	rights := make([]byte, unix.CmsgSpace(maxSockets*4))
	n, rightsLen, flags, _, err := conn.ReadMsgUnix(list, rights)
	if err != nil {
		return nil, err
	}
	fds, err := descriptors(rights[:rightsLen])
	var names []string
	// A list longer than one read comes in pieces.
	for err == nil && json.Unmarshal(list[:n], &names) != nil {
		var more int
		more, err = conn.Read(list[n:])
		n += more
	}
	if err == nil && (flags&unix.MSG_CTRUNC != 0 || len(fds) != len(names)) {
		err = fmt.Errorf("%d descriptors came for %d sockets; is the limit of open files too low?", len(fds), len(names))
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), names[i])
	}
	return files, nil
}

// descriptors returns those of all messages of rights.
func descriptors(rights []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("read the descriptors: %w", err)
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, fmt.Errorf("read the descriptors: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
