package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Client controls a proxy in another process, over its control socket. Its methods
// are those of [Proxy]; the end of a context, or of the connection, ends a call and
// changes nothing that is in force or in flight.
//
// Errors say which proxy they are about. When none listens on the socket, they wrap
// ECONNREFUSED or fs.ErrNotExist.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client for the control socket at path. It connects anew for
// each call, and has nothing to close.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Apply is [Proxy.Apply].
func (c *Client) Apply(ctx context.Context, t Table) error {
	return c.call(ctx, applyPath, t, nil)
}

// Drain is [Proxy.Drain].
func (c *Client) Drain(ctx context.Context, service, release string, times DrainTimes) (DrainResult, error) {
	var result DrainResult
	err := c.call(ctx, drainPath, drainRequest{service, release, times}, &result)
	return result, err
}

// Stats is [Proxy.Stats].
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var stats Stats
	err := c.call(ctx, statsPath, struct{}{}, &stats)
	return stats, err
}

// Info is [Proxy.Info].
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	err := c.call(ctx, infoPath, struct{}{}, &info)
	return info, err
}

// Shutdown is [Proxy.Shutdown]: the process may live on for the grace, and answers
// Stats meanwhile.
func (c *Client) Shutdown(ctx context.Context, grace time.Duration) error {
	return c.call(ctx, shutdownPath, shutdownRequest{grace}, nil)
}

// TakeOver is [Proxy.TakeOver].
func (c *Client) TakeOver(ctx context.Context, path string, grace time.Duration) (Predecessor, error) {
	var old Predecessor
	err := c.call(ctx, takeOverPath, takeOverRequest{path, grace}, &old)
	return old, err
}

// What follows is for a successor: it is about the one process alone.

func (c *Client) applyOwn(ctx context.Context, t Table) error {
	return c.call(ctx, ownPath+applyPath, t, nil)
}

func (c *Client) drainOwn(ctx context.Context, service, release string, times DrainTimes) (DrainResult, error) {
	var result DrainResult
	err := c.call(ctx, ownPath+drainPath, drainRequest{service, release, times}, &result)
	return result, err
}

func (c *Client) statsOwn(ctx context.Context) (Stats, error) {
	var stats Stats
	err := c.call(ctx, ownPath+statsPath, struct{}{}, &stats)
	return stats, err
}

// last waits for the end of a proxy that was taken over, and returns what it has counted.
func (c *Client) last(ctx context.Context) (Stats, error) {
	var stats Stats
	err := c.call(ctx, lastPath, struct{}{}, &stats)
	return stats, err
}

// call sends in and reads the answer into out, if that isn't nil.
func (c *Client) call(ctx context.Context, path string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return c.failed(path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://segue"+path, bytes.NewReader(text))
	if err != nil {
		return c.failed(path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which says nothing here
		}
		return c.failed(path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return readControlError(resp)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.failed(path, err)
	}
	return nil
}

func (c *Client) failed(what string, err error) error {
	return fmt.Errorf("proxy at %s: %s: %w", c.path, what, err)
}

// readControlError returns the error in an answer that isn't good.
func readControlError(resp *http.Response) error {
	var e controlError
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(text, &e) != nil || e.Error == "" {
		return fmt.Errorf("the proxy answered %s", resp.Status)
	}
	return errors.New(e.Error)
}
