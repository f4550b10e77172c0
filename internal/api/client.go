package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/segue-deploy/segue/internal/artifact"
	"github.com/segue-deploy/segue/internal/deploy"
	"github.com/segue-deploy/segue/internal/spec"
)

// Client talks to a daemon.
type Client struct {
	socket string
	http   *http.Client
	// patience is how long Follow tries to reach a daemon that has gone away.
	patience time.Duration
}

// NewClient returns a client of the daemon that listens on a unix socket.
func NewClient(socket string) *Client {
	return &Client{socket: socket, patience: time.Minute, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Unreachable says that no daemon answers, or that it went away before it had;
// then the command may or may not have been carried out.
type Unreachable struct {
	Socket string
	Err    error
}

// Error says what to do as well.
func (u *Unreachable) Error() string {
	if op, ok := errors.AsType[*net.OpError](u.Err); !ok || op.Op != "dial" {
		return fmt.Sprintf("the daemon on %s went away before it had answered (%v); 'segue status' shows what it has done", u.Socket, reason(u.Err))
	}
	hint := "is 'segue serve' running, with the same --state-dir?"
	if errors.Is(u.Err, fs.ErrPermission) {
		hint = "run as root or as a member of the group that owns it"
	}
	return fmt.Sprintf("no daemon answers on %s: %v; %s", u.Socket, reason(u.Err), hint)
}

// Unwrap is the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// reason leaves out of an error what the message says already.
func reason(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	if request, ok := errors.AsType[*url.Error](err); ok {
		return request.Err
	}
	return err
}

// Version asks what the daemon is.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return call[Version](ctx, c, http.MethodGet, "/v1/version", nil)
}

// StopAll stops the daemon, the proxy, and all instances.
func (c *Client) StopAll(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/stop", nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Upgrade has the daemon go on as another binary. A later Version has another Started once
// it has.
func (c *Client) Upgrade(ctx context.Context, req UpgradeRequest) (Upgrade, error) {
	return call[Upgrade](ctx, c, http.MethodPost, "/v1/upgrade", req)
}

// UpgradeProxy replaces the proxy, if it isn't as the daemon would start it.
func (c *Client) UpgradeProxy(ctx context.Context, req ProxyUpgradeRequest) (ProxyUpgrade, error) {
	return call[ProxyUpgrade](ctx, c, http.MethodPost, "/v1/upgrade/proxy", req)
}

// Upload packs a file or directory and stores it with the daemon. An empty path
// stores the empty artifact.
func (c *Client) Upload(ctx context.Context, path string) (Uploaded, error) {
	r, w := io.Pipe()
	var packErr error
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		packErr = artifact.Pack(ctx, path, w)
		w.CloseWithError(packErr)
	}()
	up, err := call[Uploaded](ctx, c, http.MethodPost, "/v1/artifacts", r)
	r.CloseWithError(io.ErrClosedPipe)
	<-packed
	if packErr != nil && !errors.Is(packErr, io.ErrClosedPipe) {
		return Uploaded{}, packErr
	}
	return up, err
}

// Plan asks what a deployment would do.
func (c *Client) Plan(ctx context.Context, s *spec.Spec) (deploy.Preview, error) {
	return call[deploy.Preview](ctx, c, http.MethodPost, "/v1/plan", DeployRequest{Spec: s})
}

// Deploy asks for a deployment of a new release.
func (c *Client) Deploy(ctx context.Context, req DeployRequest) (deploy.Deployment, error) {
	return call[deploy.Deployment](ctx, c, http.MethodPost, servicePath(req.Spec.Service, "deployments"), req)
}

// Rollback asks for an earlier release.
func (c *Client) Rollback(ctx context.Context, service string, req RollbackRequest) (deploy.Deployment, error) {
	return call[deploy.Deployment](ctx, c, http.MethodPost, servicePath(service, "rollback"), req)
}

// Restart asks for new instances of stable's artifact and spec.
func (c *Client) Restart(ctx context.Context, service string, req RestartRequest) (deploy.Deployment, error) {
	return call[deploy.Deployment](ctx, c, http.MethodPost, servicePath(service, "restart"), req)
}

// Scale asks for another number of instances of stable.
func (c *Client) Scale(ctx context.Context, service string, req ScaleRequest) (deploy.Deployment, error) {
	return call[deploy.Deployment](ctx, c, http.MethodPost, servicePath(service, "scale"), req)
}

// Abort ends a deployment. Here and in the commands that follow, an empty ID is the
// one under way.
func (c *Client) Abort(ctx context.Context, service, id string, req CommandRequest) (deploy.Deployment, error) {
	return c.command(ctx, service, id, "abort", req)
}

// Pause has a deployment begin no further step.
func (c *Client) Pause(ctx context.Context, service, id string, req PauseRequest) (deploy.Deployment, error) {
	return c.command(ctx, service, id, "pause", req)
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context, service, id string, req CommandRequest) (deploy.Deployment, error) {
	return c.command(ctx, service, id, "resume", req)
}

// Promote goes on from an approval or a pause.
func (c *Client) Promote(ctx context.Context, service, id string, req PromoteRequest) (deploy.Deployment, error) {
	return c.command(ctx, service, id, "promote", req)
}

func (c *Client) command(ctx context.Context, service, id, verb string, req any) (deploy.Deployment, error) {
	return call[deploy.Deployment](ctx, c, http.MethodPost, servicePath(service, "deployments", cmp.Or(id, "current"), verb), req)
}

// Hold keeps a service's new requests waiting.
func (c *Client) Hold(ctx context.Context, service string, req HoldRequest) (deploy.Hold, error) {
	return call[deploy.Hold](ctx, c, http.MethodPost, servicePath(service, "hold"), req)
}

// Release lets them go.
func (c *Client) Release(ctx context.Context, service string, req CommandRequest) (HoldEnd, error) {
	return call[HoldEnd](ctx, c, http.MethodPost, servicePath(service, "release"), req)
}

// Freeze refuses deploys of a service.
func (c *Client) Freeze(ctx context.Context, service string, req FreezeRequest) (deploy.Freeze, error) {
	return call[deploy.Freeze](ctx, c, http.MethodPost, servicePath(service, "freeze"), req)
}

// Unfreeze allows them again.
func (c *Client) Unfreeze(ctx context.Context, service string, req CommandRequest) (FreezeEnd, error) {
	return call[FreezeEnd](ctx, c, http.MethodPost, servicePath(service, "unfreeze"), req)
}

// Services describes all services.
func (c *Client) Services(ctx context.Context) ([]deploy.ServiceStatus, error) {
	return call[[]deploy.ServiceStatus](ctx, c, http.MethodGet, "/v1/services", nil)
}

// Status describes one service.
func (c *Client) Status(ctx context.Context, service string) (deploy.ServiceStatus, error) {
	return call[deploy.ServiceStatus](ctx, c, http.MethodGet, servicePath(service), nil)
}

// History lists releases and deployments.
func (c *Client) History(ctx context.Context, service string) (History, error) {
	return call[History](ctx, c, http.MethodGet, servicePath(service, "history"), nil)
}

// Explain says what a service waits for.
func (c *Client) Explain(ctx context.Context, service string) ([]deploy.Wait, error) {
	return call[[]deploy.Wait](ctx, c, http.MethodGet, servicePath(service, "explain"), nil)
}

// Actions lists what somebody has done to a service, oldest first.
func (c *Client) Actions(ctx context.Context, service string) ([]deploy.Action, error) {
	return call[[]deploy.Action](ctx, c, http.MethodGet, servicePath(service, "actions"), nil)
}

// Deployment returns one deployment; an empty ID is the last.
func (c *Client) Deployment(ctx context.Context, service, id string) (deploy.Deployment, error) {
	return call[deploy.Deployment](ctx, c, http.MethodGet, servicePath(service, "deployments", cmp.Or(id, "last")), nil)
}

// Receipt returns the account of a deployment; an empty ID is the last.
func (c *Client) Receipt(ctx context.Context, service, id string) (deploy.Receipt, error) {
	return call[deploy.Receipt](ctx, c, http.MethodGet, servicePath(service, "deployments", cmp.Or(id, "last"), "receipt"), nil)
}

// Logs copies output of a service's instances to w.
func (c *Client) Logs(ctx context.Context, w io.Writer, query deploy.LogQuery) error {
	q := url.Values{"release": {query.Release}, "instance": {query.Instance}, "tail": {strconv.Itoa(query.Tail)}}
	if query.Follow {
		q.Set("follow", "true")
	}
	resp, err := c.do(ctx, http.MethodGet, servicePath(query.Service, "logs")+"?"+q.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the logs broke off: %w", err)
	}
	return nil
}

func servicePath(service string, rest ...string) string {
	path := "/v1/services/" + url.PathEscape(service)
	for _, r := range rest {
		path += "/" + url.PathEscape(r)
	}
	return path
}

// call sends a request and decodes its answer. A body that is an io.Reader is
// sent as it is.
func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	resp, err := c.do(ctx, method, path, body, nil)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("decode the daemon's answer to %s %s: %w", method, path, err)
	}
	return answer, nil
}

// do sends a request; an answer other than 2xx is returned as an error.
func (c *Client) do(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	reader, ok := body.(io.Reader)
	if !ok && body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request to %s: %w", path, err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://segue"+path, reader)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w before the daemon had answered; 'segue status' shows what it has done", context.Cause(ctx))
		}
		return nil, &Unreachable{c.socket, err}
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := &Problem{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, bodyLimit)).Decode(p); err != nil || p.Detail == "" {
		return nil, fmt.Errorf("the daemon answered %s to %s %s", resp.Status, method, path)
	}
	return nil, p
}
