package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The Host headers that lead to the upstream's two sockets.
const (
	tcpHost  = "tcp.bench.test"
	unixHost = "unix.bench.test"
)

const (
	// settle is how long a load runs before it is measured: connections are made in
	// it, and memory is got.
	settle = 500 * time.Millisecond
	// quiet is how long idle connections are left alone before memory is read.
	quiet = 500 * time.Millisecond
)

// basic is the case that the last line of the output is about.
const basic = "1k"

// testCase is one thing that is measured of every proxy.
type testCase struct {
	name, title string
	// load is what is sent; its address is the proxy's. With idle, it is one request
	// on each connection, and nothing after that.
	load load
	idle bool
}

// clients returns how many clients a proxy has to expect that may have so many
// descriptors. It needs a second one for each request in flight.
func clients(files int) int { return files*3/4 - 1000 }

// cases returns all of them. One needs many descriptors, of which there may be fewer.
func cases(files int) []testCase {
	get := func(name, title, path, host string, connections int) testCase {
		return testCase{name: name, title: title, load: load{path: path, host: host, connections: connections}}
	}
	idle := min(10_000, clients(files)-100)
	return []testCase{
		get(basic, "GET 1 KiB, 64 connections", "/1k", tcpHost, 64),
		get("64k", "GET 64 KiB, 64 connections", "/64k", tcpHost, 64),
		get("1m", "GET 1 MiB, 64 connections", "/1m", tcpHost, 64),
		{name: "post", title: "POST 64 KiB, 64 connections", load: load{path: "/", host: tcpHost, post: 64 << 10, connections: 64}},
		get("1k-1", "GET 1 KiB, 1 connection", "/1k", tcpHost, 1),
		get("1k-1000", "GET 1 KiB, 1,000 connections", "/1k", tcpHost, 1000),
		get("1k-unix", "GET 1 KiB, 64 connections, upstream on a unix socket", "/1k", unixHost, 64),
		{name: "idle", title: fmt.Sprintf("Memory of %d idle connections", idle), idle: true, load: load{path: "/1k", host: tcpHost, connections: idle}},
	}
}

// sample is what was measured of a proxy once. Of an idle case there is memory only.
type sample struct {
	// cpu is the time that a request costs the proxy, in microseconds, and user and
	// system are its parts.
	cpu, user, system float64
	// rate is in requests per second.
	rate float64
	// p50 and p99 are latencies, in microseconds.
	p50, p99 float64
	// memory is what the proxy has at the end, in MiB, and idle what each idle
	// connection has added to it, in KiB.
	memory, idle float64
}

func (s sample) cost() float64 { return s.cpu }

// measurement is what a case needs to be measured.
type measurement struct {
	proc   procfs
	proxy  *process
	load   load
	script string
	// threads is how many wrk may use.
	threads int
	window  time.Duration
	// answered says how many requests the upstream has got.
	answered func(context.Context) (uint64, error)
}

// underLoad measures a window of a load that began before and ends after it, so that
// neither making connections nor closing them is in it.
func (m measurement) underLoad(ctx context.Context) (sample, error) {
	var s sample
	o, err := m.load.run(ctx, m.script, m.threads, func() error {
		if err := wait(ctx, settle); err != nil {
			return err
		}
		before, err := m.reading(ctx)
		if err != nil {
			return err
		}
		if err := wait(ctx, m.window); err != nil {
			return err
		}
		after, err := m.reading(ctx)
		if err != nil {
			return err
		}
		s, err = between(before, after)
		return err
	})
	s.p50, s.p99 = o.P50, o.P99
	return s, err
}

// reading is the state of all counters at a moment.
type reading struct {
	at       time.Time
	answered uint64
	usage    usage
}

func (m measurement) reading(ctx context.Context) (reading, error) {
	answered, err := m.answered(ctx)
	if err != nil {
		return reading{}, err
	}
	u, err := m.proc.usage(m.proxy.cmd.Process.Pid)
	return reading{time.Now(), answered, u}, err
}

// between computes what happened from one reading to another.
func between(before, after reading) (sample, error) {
	requests := float64(after.answered - before.answered)
	if requests == 0 {
		return sample{}, errors.New("no request was answered while it was measured")
	}
	used := after.usage.since(before.usage)
	user, system := used.split()
	return sample{
		cpu:    micros(used.cpu) / requests,
		user:   micros(user) / requests,
		system: micros(system) / requests,
		rate:   requests / after.at.Sub(before.at).Seconds(),
		memory: float64(after.usage.memory) / (1 << 20),
	}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// idle measures what connections cost that have had one request and wait for the next.
func (m measurement) idle(ctx context.Context) (sample, error) {
	pid := m.proxy.cmd.Process.Pid
	before, err := m.proc.usage(pid)
	if err != nil {
		return sample{}, err
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range m.load.connections {
		c, err := m.load.once(ctx)
		if err != nil {
			return sample{}, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conns = append(conns, c)
	}
	if err := wait(ctx, quiet); err != nil {
		return sample{}, err
	}
	after, err := m.proc.usage(pid)
	return sample{
		memory: float64(after.memory) / (1 << 20),
		idle:   float64(after.since(before).memory) / (1 << 10) / float64(m.load.connections),
	}, err
}

// once sends one request over a connection, reads the answer, and returns the
// connection.
func (l load) once(ctx context.Context) (_ net.Conn, err error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	c.SetDeadline(time.Now().Add(startDeadline))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", l.path, l.host); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Close {
		return nil, fmt.Errorf("%s, and the connection closes: %t", resp.Status, resp.Close)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return c, err
}

// wait returns after d, or the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
