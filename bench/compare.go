package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// comparison is who is compared with whom, and in what.
type comparison struct {
	contenders []contender
	cases      []testCase
	// rounds is how often each case is measured of each contender, and window for how
	// long.
	rounds int
	window time.Duration
	// limit is how long all of it may take: a round that would end later doesn't begin.
	limit time.Duration
	// upstream is the program behind the proxies.
	upstream string
	// files is how many descriptors a process may have.
	files int
	// progress takes a line for everything that is measured.
	progress io.Writer
}

// results are the samples of each case, by its name and the contender's.
type results map[string]map[string][]sample

// run goes through all cases with all contenders, round by round. So what happens on
// the machine meanwhile hits all of them. Each sample is of a process of its own, that
// was started for it.
func (c comparison) run(ctx context.Context) (_ results, err error) {
	dir, err := os.MkdirTemp("", "segue-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	stage, err := c.setUp(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer stage.upstream.stop()
	all := make(results)
	for _, tc := range c.cases {
		all[tc.name] = make(map[string][]sample)
	}
	began := time.Now()
	var longest time.Duration
	for round := range c.rounds {
		if time.Since(began)+longest > c.limit {
			fmt.Fprintf(c.progress, "stopped after %d of %d rounds: another would take longer than %s\n", round, c.rounds, c.limit)
			break
		}
		roundBegan := time.Now()
		for _, tc := range c.cases {
			for i := range c.contenders {
				// Who begins, and who comes after whom, is different each time.
				who := c.contenders[(i+round)%len(c.contenders)]
				s, err := stage.measure(ctx, who, tc)
				if err != nil {
					return nil, fmt.Errorf("%s of %s: %w", tc.name, who.name, err)
				}
				fmt.Fprintf(c.progress, "round %d  %-8s %-8s %s\n", round+1, tc.name, who.name, tc.line(s))
				all[tc.name][who.name] = append(all[tc.name][who.name], s)
			}
		}
		longest = max(longest, time.Since(roundBegan))
	}
	return all, nil
}

// stage is what the contenders have in common while they are measured.
type stage struct {
	comparison
	dir, script string
	upstream    *process
	// place is where each contender runs, but for what it has to itself.
	place place
}

// setUp starts the upstream.
func (c comparison) setUp(ctx context.Context, dir string) (*stage, error) {
	tcp, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	script, err := config.ReadFile("config/wrk.lua")
	if err != nil {
		return nil, err
	}
	s := &stage{
		comparison: c, dir: dir, script: filepath.Join(dir, "wrk.lua"),
		place: place{
			TCP: tcp, Unix: filepath.Join(dir, "upstream.sock"), TCPHost: tcpHost, UnixHost: unixHost,
			Workers: runtime.NumCPU(), Clients: clients(c.files), Files: c.files,
		},
	}
	if err := os.WriteFile(s.script, script, 0o600); err != nil {
		return nil, err
	}
	s.upstream, err = start(ctx, "upstream", dir, nil, c.upstream, "-listen", tcp, "-unix", s.place.Unix)
	if err != nil {
		return nil, err
	}
	if err := s.upstream.awaitAnswer(ctx, tcp, tcp, "/count", 0); err != nil {
		s.upstream.stop()
		return nil, err
	}
	return s, nil
}

// answered asks the upstream how many requests it has got.
func (s *stage) answered(ctx context.Context) (uint64, error) {
	text, err := get(ctx, s.place.TCP, s.place.TCP, "/count")
	if err != nil {
		return 0, s.upstream.failed(err)
	}
	return strconv.ParseUint(string(text), 10, 64)
}

// measure takes a sample of a contender that is started for it.
func (s *stage) measure(ctx context.Context, who contender, tc testCase) (sample, error) {
	at := s.place
	var err error
	if at.Listen, err = freeAddress(ctx); err != nil {
		return sample{}, err
	}
	if at.Address, at.Port, err = net.SplitHostPort(at.Listen); err != nil {
		return sample{}, err
	}
	if at.Dir, err = os.MkdirTemp(s.dir, "proxy-"); err != nil {
		return sample{}, err
	}
	p, err := who.start(ctx, who, at)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	if err := p.awaitAnswer(ctx, at.Listen, tc.load.host, "/1k", 1<<10); err != nil {
		return sample{}, err
	}
	m := measurement{
		proc: "/proc", proxy: p, load: tc.load, script: s.script, window: s.window, answered: s.answered,
		// The other half is for the proxy and the upstream.
		threads: max(1, runtime.NumCPU()/2),
	}
	m.load.address = at.Listen
	measure := m.underLoad
	if tc.idle {
		measure = m.idle
	}
	sample, err := measure(ctx)
	if err != nil {
		return sample, p.failed(err)
	}
	return sample, nil
}
