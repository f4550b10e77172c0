package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// load is wrk, which sends one kind of request over a number of connections, on each
// the next as soon as the last is answered.
type load struct {
	address, host, path string
	// post is the size of the body to POST; 0 is a GET.
	post        int
	connections int
}

// loadLimit is the longest that wrk runs when nobody stops it.
const loadLimit = time.Minute

// outcome is what wrk says at its end (config/wrk.lua). Latencies are in
// microseconds, of all requests since its start.
type outcome struct {
	Requests uint64  `json:"requests"`
	Errors   uint64  `json:"errors"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
}

// run sends requests as long as during takes, and until it returns nil.
func (l load) run(ctx context.Context, script string, threads int, during func() error) (outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "wrk",
		"--threads", strconv.Itoa(min(threads, l.connections)), "--connections", strconv.Itoa(l.connections),
		"--duration", strconv.Itoa(int(loadLimit.Seconds()))+"s", "--timeout", "10s",
		"--header", "Host: "+l.host, "--script", script,
		"http://"+l.address+l.path, "--", strconv.Itoa(l.post))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return outcome{}, fmt.Errorf("start wrk: %w", err)
	}
	err := during()
	if err == nil {
		// It then says what was until now.
		err = cmd.Process.Signal(os.Interrupt)
	}
	if err != nil {
		cancel()
	}
	if waited := cmd.Wait(); err == nil && waited != nil {
		err = fmt.Errorf("wrk: %w\n%s", waited, &out)
	}
	if err != nil {
		return outcome{}, err
	}
	return parseOutcome(out.Bytes())
}

// parseOutcome finds the outcome in what wrk wrote. That a request failed is an error:
// nothing can be compared then.
func parseOutcome(out []byte) (outcome, error) {
	for line := range bytes.Lines(out) {
		var o outcome
		if line[0] != '{' || json.Unmarshal(line, &o) != nil {
			continue
		}
		if o.Errors > 0 {
			return o, fmt.Errorf("%d of %d requests failed:\n%s", o.Errors, o.Requests, out)
		}
		if o.Requests == 0 {
			return o, errors.New("no request was answered")
		}
		return o, nil
	}
	return outcome{}, fmt.Errorf("wrk has not said how it went:\n%s", out)
}
