//go:build linux

package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// maxNotice is the longest datagram, in bytes, that is read: that of systemd.
	maxNotice = 4096
	// maxStatus is how many bytes of a STATUS are shown.
	maxStatus = 200
	// maxAncestors is how far back a sender's descent is looked up. The processes
	// change meanwhile, so that the way needn't have an end.
	maxAncestors = 100
	// retell is the time between two tries to listen, or to enter what was said.
	retell = time.Second
)

// notices is the socket on which a process of an instance says how it is, by the
// protocol of sd_notify(3): datagrams of lines NAME=VALUE. Of these READY, STOPPING
// and STATUS mean something here.
//
// The socket belongs to one process of the instance, not to the instance: what an
// earlier process has said can't be taken for the word of the next. It is read
// until that process has ended, whether somebody wants to know or not, since the
// kernel keeps a sender waiting when it has some ten datagrams unread. For the same
// reason nobody holds the socket open over the absence of a daemon: what is sent
// meanwhile is refused, and lost, but never blocks.
type notices struct {
	conn *net.UnixConn
	// left is closed when the goroutine that reads has ended; nil when there is
	// none.
	left chan struct{}
	// news has a value when said has changed since it was looked at.
	news chan struct{}

	mu   sync.Mutex
	said notice
}

// notice is what a process has said last.
type notice struct {
	// word is "READY", "STOPPING" or, before either, "".
	word   string
	status string
}

// listenNotify makes the socket at its place in an instance's run directory. One
// that is there is replaced in an instant, so that no sender finds none.
func listenNotify(runDir string, who account) (*notices, error) {
	// The run directory belongs to the instance's user, who could put something
	// else in the place of a file there before its owner is changed.
	temp := notifyTemp(runDir)
	if err := os.Remove(temp); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the rest of a notify socket: %w", err)
	}
	// The kernel only says who has sent what came after this was switched on.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); e != nil {
			return e
		}
		return err
	}}
	packets, err := config.ListenPacket(context.Background(), "unixgram", temp)
	if err != nil {
		return nil, fmt.Errorf("make its notify socket: %w", err)
	}
	conn, ok := packets.(*net.UnixConn)
	if !ok {
		_ = packets.Close()
		return nil, fmt.Errorf("make its notify socket: got a %T", packets)
	}
	err = who.own(temp)
	if err == nil {
		err = os.Rename(temp, notifyPath(runDir))
	}
	if err != nil {
		_ = conn.Close()
		_ = os.Remove(temp)
		return nil, fmt.Errorf("make its notify socket: %w", err)
	}
	return &notices{conn: conn, news: make(chan struct{}, 1)}, nil
}

// follow begins to read what the processes that id names say, beyond what is known
// already.
func (n *notices) follow(id identity, known notice) {
	n.said = known
	n.left = make(chan struct{})
	go func() {
		defer close(n.left)
		n.read(id)
	}()
}

// said is what a record tells of what the present process has said.
func said(r *record) notice {
	switch {
	case !r.ReadySince.IsZero():
		return notice{word: "READY"}
	case r.WasReady:
		return notice{word: "STOPPING"}
	}
	return notice{}
}

// close removes nothing: the path is the next one's, or goes with its directory.
func (n *notices) close() {
	_ = n.conn.Close()
	if n.left != nil {
		<-n.left
	}
}

// read takes notice until the socket is closed.
func (n *notices) read(id identity) {
	text, control := make([]byte, maxNotice), make([]byte, 1024)
	for {
		size, controlSize, flags, _, err := n.conn.ReadMsgUnix(text, control)
		if err != nil {
			return
		}
		sender := readControl(control[:controlSize])
		if flags&unix.MSG_TRUNC != 0 || sender == nil || !id.sent(sender) {
			continue
		}
		n.take(string(text[:size]))
	}
}

// readControl returns who has sent a datagram, see unix(7), and closes descriptors
// that came with it: one who sends BARRIER=1 waits for that.
func readControl(control []byte) *unix.Ucred {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	var sender *unix.Ucred
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		} else if c, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			sender = c
		}
	}
	return sender
}

// take enters the lines of a datagram. Names that mean nothing here are passed over.
func (n *notices) take(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.said
	for line := range strings.SplitSeq(text, "\n") {
		switch name, value, _ := strings.Cut(line, "="); {
		case (name == "READY" || name == "STOPPING") && value == "1":
			n.said.word = name
		case name == "STATUS":
			n.said.status = shorten(value)
		}
	}
	if n.said == before {
		return
	}
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// shorten makes a status fit for a message to a person.
func shorten(status string) string {
	status = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(status, "?"))
	status = strings.TrimSpace(status)
	if len(status) <= maxStatus {
		return status
	}
	end := maxStatus
	for !utf8.RuneStart(status[end]) {
		end--
	}
	return status[:end] + "…"
}

// answer is what was said last, as the answer to a probe.
func (n *notices) answer() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	why := "hasn't said READY=1 on its notify socket"
	switch n.said.word {
	case "READY":
		return nil
	case "STOPPING":
		why = "has said STOPPING=1 on its notify socket"
	}
	if n.said.status != "" {
		why += ", but: " + n.said.status
	}
	return errors.New(why)
}

// ---- The instance's part ----

// closeNotices ends what start or attend has begun.
func (in *instance) closeNotices() {
	if in.notices != nil {
		in.notices.close()
		in.notices = nil
	}
}

// attend sends what the process says of its health until ctx ends. It says it again
// every now and then, as what can't be recorded doesn't count.
func (in *instance) attend(ctx context.Context, answers chan<- error, known notice) {
	for in.notices == nil {
		if err := in.listenAgain(known); err != nil {
			in.log().Warn("the notify socket of an instance that lives can't be made; trying again", "error", err)
			if pause(ctx, retell) != nil {
				return
			}
		}
	}
	again := time.NewTicker(retell)
	defer again.Stop()
	for {
		select {
		case answers <- in.notices.answer():
		case <-ctx.Done():
			return
		}
		select {
		case <-in.notices.news:
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// listenAgain listens to a process that an earlier driver has started.
func (in *instance) listenAgain(known notice) error {
	who, err := findAccount(in.rec.Release.User)
	if err != nil {
		return err
	}
	n, err := listenNotify(in.rec.RunDir, who)
	if err != nil {
		return err
	}
	n.follow(in.leader.identity, known)
	in.notices = n
	return nil
}

// ---- Who has sent it ----

// sent reports whether a datagram comes from the instance. A sender that has ended
// already, as a command that does nothing else has, can't be looked at any more;
// then it counts, as nobody but the instance's user and root get at the socket.
func (id identity) sent(by *unix.Ucred) bool {
	if by.Pid <= 0 {
		return false // not of this machine's part that we see
	}
	s, err := readStat(int(by.Pid))
	if err != nil || s.zombie {
		return true
	}
	return id.belongs(s)
}

// belongs reports whether a process is one of the instance's, or descends from one.
// It asks for less than owns, which decides on life and death: the session is
// enough.
func (id identity) belongs(s stat) bool {
	for range maxAncestors {
		if id.owns(s) || id.pid != 0 && s.session == id.pid && id.pinned() {
			return true
		}
		var err error
		if s, err = readStat(s.parent); err != nil {
			return false
		}
	}
	return false
}
