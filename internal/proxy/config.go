package proxy

import (
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"time"
)

// Config is what a proxy works with. A zero field stands for its default.
type Config struct {
	// Version is what Info tells of the program.
	Version string
	// Logger takes what a person has to know; nil is none. Requests go to the
	// access log.
	Logger *slog.Logger

	// TrustedProxies are the addresses of proxies in front of this one, whose
	// X-Forwarded-*, Forwarded and X-Request-ID headers are believed. Those of
	// other clients are replaced.
	TrustedProxies []netip.Prefix

	// ConnectTimeout is the longest that a connection to an upstream may take
	// (5 s).
	ConnectTimeout time.Duration
	// ResponseHeaderTimeout is the longest from the end of a request to the head
	// of its answer, and that an upstream may take nothing of a request's body
	// before it answers (60 s).
	ResponseHeaderTimeout time.Duration

	// ReadHeaderTimeout is the longest that a client may take for the head of a
	// request, from its first byte (10 s).
	ReadHeaderTimeout time.Duration
	// IdleTimeout is how long a client's connection is kept before the first
	// request and between two (75 s).
	IdleTimeout time.Duration
	// StallTimeout is the longest that a client may send nothing of a body that
	// is waited for, or take nothing of an answer (60 s).
	StallTimeout time.Duration

	// MaxHeaderBytes bounds the head of a request; a bigger one is answered
	// 431 (64 KiB). A head of an answer may have 16 times as much.
	MaxHeaderBytes int
	// Loops is how many threads serve clients, each its own connections (one for each
	// processor that the process may use).
	Loops int
	// MaxConnections bounds the clients' open connections. Those above wait in the
	// kernel's queue; they are neither accepted nor counted (16384).
	MaxConnections int
	// ReplayLimit is how many bytes of a request's body are kept while it is
	// sent, in case it must be sent again; a negative number is none (64 KiB).
	ReplayLimit int

	AccessLog AccessLog

	// ShutdownGrace is how long requests in flight have when the context of
	// Run ends (30 s).
	ShutdownGrace time.Duration
}

// AccessLog says which requests are written down, and where: one JSON object a
// line, as described at [Entry].
type AccessLog struct {
	// Every is 0 for no request, 1 for all, n for one in n, taken at random.
	Every int
	// Writer takes the lines. It is called by one goroutine, off the way of
	// the requests: when it is slow, requests go unlogged and are counted in
	// Stats.LogDropped.
	Writer io.Writer
	// Queue is how many requests may wait to be written (4096).
	Queue int
}

// withDefaults returns c with defaults for what is zero.
func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.ResponseHeaderTimeout, time.Minute)
	setDefault(&c.ReadHeaderTimeout, 10*time.Second)
	setDefault(&c.IdleTimeout, 75*time.Second)
	setDefault(&c.StallTimeout, time.Minute)
	setDefault(&c.MaxHeaderBytes, 64<<10)
	setDefault(&c.Loops, runtime.GOMAXPROCS(0))
	setDefault(&c.MaxConnections, 16384)
	setDefault(&c.ReplayLimit, 64<<10)
	setDefault(&c.AccessLog.Queue, 4096)
	setDefault(&c.ShutdownGrace, 30*time.Second)
	return c
}

// maxAnswerHead is how many bytes the head of an answer may have.
func (c *Config) maxAnswerHead() int { return c.MaxHeaderBytes * 16 }

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
