package proxy

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// logGrace is how long the writer may take for what is queued when the proxy ends.
const logGrace = time.Second

// Entry is a line of the access log.
type Entry struct {
	// Time is when the head of the request had come.
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	// Client is the address of the peer, be it a proxy; empty for a unix
	// socket.
	Client string `json:"client"`
	Method string `json:"method"`
	Host   string `json:"host"`
	// Path is without the query, in which there may be secrets.
	Path  string `json:"path"`
	Proto string `json:"proto"`
	// Status is 0 when no answer began, Bytes the length of its body.
	Status int   `json:"status"`
	Bytes  int64 `json:"bytes"`
	// Seconds is from Time to the end of the answer.
	Seconds float64 `json:"seconds"`
	// Outcome is "answered", "client_gone", "refused" (no service took it), or
	// one of the causes of [Failures] in its JSON form.
	Outcome  string `json:"outcome"`
	Service  string `json:"service,omitempty"`
	Release  string `json:"release,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Attempts int    `json:"attempts"`
	// Replays is how often an instance has handed the upload back.
	Replays int `json:"replays,omitempty"`
}

// accessLog writes entries off the way of the requests.
type accessLog struct {
	every  int
	writer io.Writer
	log    *slog.Logger
	queue  chan Entry
	// dropped counts the entries that weren't written.
	dropped atomic.Uint64
}

func newAccessLog(cfg AccessLog, log *slog.Logger) *accessLog {
	l := &accessLog{every: cfg.Every, writer: cfg.Writer, log: log}
	if cfg.Writer == nil {
		l.every = 0
	}
	if l.every > 0 {
		l.queue = make(chan Entry, cfg.Queue)
	}
	return l
}

// of says where a request went.
func (e *Entry) of(f *flight) {
	e.Attempts = f.attempts
	if f.service != nil {
		e.Service = f.service.name
	}
	if p := f.pool; p != nil {
		e.Release, e.Upstream = p.account.release, p.upstream.id
	}
}

// add queues a request that has ended, or drops it when the queue is full.
func (l *accessLog) add(x interface{ entry() Entry }) {
	if l.every == 0 || (l.every > 1 && rand.IntN(l.every) != 0) {
		return
	}
	select {
	case l.queue <- x.entry():
	default:
		l.dropped.Add(1)
	}
}

// run writes until ctx ends, and then what is queued still. A writer that blocks
// for ever keeps its goroutine, but not the proxy.
func (l *accessLog) run(ctx context.Context) {
	if l.every == 0 {
		return
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.writeAll(stop)
	}()
	<-ctx.Done()
	close(stop)
	grace := time.NewTimer(logGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
	}
}

func (l *accessLog) writeAll(stop <-chan struct{}) {
	failing := false
	for {
		var e Entry
		select {
		case e = <-l.queue:
		case <-stop:
			select {
			case e = <-l.queue:
			default:
				return
			}
		}
		line, err := json.Marshal(e)
		if err == nil {
			_, err = l.writer.Write(append(line, '\n'))
		}
		if err != nil {
			l.dropped.Add(1)
		}
		if err != nil && !failing {
			l.log.Error("write the access log; requests go unlogged", "error", err)
		}
		failing = err != nil
	}
}
