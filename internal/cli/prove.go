package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-deploy/segue/internal/prove"
)

const (
	// connectTimeout is how long the first connection may take: what does not answer
	// at all before the load begins is a wrong URL.
	connectTimeout = 5 * time.Second
	// finishTimeout is how long the requests in flight at the end may take.
	finishTimeout = 10 * time.Second
	// maxPost is how many bytes a POST may have.
	maxPost = 1 << 30
	// progressEvery is how often a line says how it goes.
	progressEvery = time.Second
)

// proveOptions are the flags of `segue prove`.
type proveOptions struct {
	*options
	clients, fresh int
	rate           float64
	duration       time.Duration
	timeout        time.Duration
	method         string
	posts, body    int
	header         []string
	host           string
	sticky         bool
	insecure       bool
	log            string
	seed           uint64
}

func newProve(o *options) *cobra.Command {
	p := &proveOptions{options: o}
	cmd := &cobra.Command{
		Use:   "prove URL",
		Short: "Send requests, and count what became of each, while releases change",
		Long: "Send requests to a service and count on the clients' side what became of each: lost, duplicated,\n" +
			"answered wrongly or by the wrong release, slowest. With a daemon at hand, the count is held against\n" +
			"the proxy's, and against the receipts of the deployments that there were meanwhile.\n\n" +
			"Any service will do. One that gives X-Load-Id back, names itself in X-Release, says in X-Load-Seen\n" +
			"how often it has got an ID, or logs the IDs (--log) is checked for more.\n\n" +
			"Ctrl-C ends it early, with the report. Exit codes: 0 nothing was lost, duplicated or wrong,\n" +
			"1 error in use, 2 something was.",
		Example: "  segue prove --clients 50 --rate 500 --for 1m http://localhost:8080/",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("which URL? usage: %s", cmd.UseLine())
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.IntVar(&p.clients, "clients", 16, "how many clients ask at a time")
	f.IntVar(&p.fresh, "fresh", 25, "percent of the clients that make a new connection for each request; the others keep theirs")
	f.Float64Var(&p.rate, "rate", 100, "requests per second of all together; 0 is as many as are answered")
	f.DurationVar(&p.duration, "for", 10*time.Second, "how long; 0 is until Ctrl-C")
	f.DurationVar(&p.timeout, "timeout", 30*time.Second, "how long a request may take")
	f.StringVar(&p.method, "method", http.MethodGet, "the method of the requests")
	f.IntVar(&p.posts, "post", 0, "percent of the requests that are POSTs instead")
	f.IntVar(&p.body, "body", 1024, "how many bytes a POST has")
	f.StringArrayVarP(&p.header, "header", "H", nil, `a header line for every request: "Name: value"`)
	f.StringVar(&p.host, "host", "", "the Host header (default: that of the URL)")
	f.BoolVar(&p.sticky, "sticky", false, "keep cookies, and count clients that went back to stable while nothing was taken back")
	f.BoolVar(&p.insecure, "insecure", false, "with https, take any certificate")
	f.StringVar(&p.log, "log", "", "a log of the service in which each request's ID is: it is searched for duplicates when the load is over")
	f.Uint64Var(&p.seed, "seed", 0, "for the choice of requests")
	f.StringVarP(&p.service, "service", "s", "", "the service that the URL leads to (default: the one whose route has its host and path)")
	o.addOutput(cmd, "json")
	return cmd
}

// run makes the load and reports.
func (p *proveOptions) run(cmd *cobra.Command, arg string) error {
	asJSON, err := p.json()
	if err != nil {
		return err
	}
	target, cfg, err := p.config(arg)
	if err != nil {
		return err
	}
	gen, err := prove.New(cfg)
	if err != nil {
		return err
	}
	if err := p.findable(cmd.Context(), cfg); err != nil {
		return err
	}
	w, err := p.counterpart(cmd.Context(), cfg.Host, target.Path)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		out = io.Discard
	}
	if err := p.load(cmd.Context(), gen, w, newProgress(out)); err != nil {
		return err
	}
	// Also when Ctrl-C has ended the load.
	proof := p.account(context.WithoutCancel(cmd.Context()), arg, gen, w)
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), proof)
	} else {
		err = printProof(cmd.OutOrStdout(), proof)
	}
	if err == nil && !proof.Proved {
		return &exitError{exitNotProved}
	}
	return err
}

// config checks the URL and the flags.
func (p *proveOptions) config(arg string) (*url.URL, prove.Config, error) {
	target, err := proveTarget(arg)
	if err != nil {
		return nil, prove.Config{}, err
	}
	switch {
	case p.clients < 1:
		return nil, prove.Config{}, fmt.Errorf("--clients %d: want 1 or more", p.clients)
	case p.fresh < 0 || p.fresh > 100:
		return nil, prove.Config{}, fmt.Errorf("--fresh %d: want percent, 0 to 100", p.fresh)
	case p.posts < 0 || p.posts > 100:
		return nil, prove.Config{}, fmt.Errorf("--post %d: want percent, 0 to 100", p.posts)
	case p.body < 0 || p.body > maxPost:
		return nil, prove.Config{}, fmt.Errorf("--body %d: want bytes, 0 to %d", p.body, maxPost)
	case !(p.rate >= 0):
		return nil, prove.Config{}, fmt.Errorf("--rate %g: want requests per second, or 0", p.rate)
	case p.duration < 0:
		return nil, prove.Config{}, fmt.Errorf("--for %s: want a time above 0, or 0 for no end", p.duration)
	case p.timeout <= 0:
		return nil, prove.Config{}, fmt.Errorf("--timeout %s: want a time above 0", p.timeout)
	case strings.ContainsFunc(p.method, func(r rune) bool { return r < 'A' || r > 'Z' }) || p.method == "" || p.method == http.MethodConnect:
		return nil, prove.Config{}, fmt.Errorf("--method %s: want a method like GET, HEAD or PUT", p.method)
	}
	header, err := parseHeader(p.header)
	if err != nil {
		return nil, prove.Config{}, err
	}
	cfg := prove.Config{
		Target: target.Host, Host: target.Host, Rate: p.rate, Timeout: p.timeout, Finish: finishTimeout,
		Header: header, Cookies: p.sticky, Seed: p.seed,
		Requests: prove.Page{Method: p.method, Target: *target, Posts: p.posts, Body: p.body}.Requests,
	}
	if target.Port() == "" {
		cfg.Target = net.JoinHostPort(target.Hostname(), map[string]string{"http": "80", "https": "443"}[target.Scheme])
	}
	if p.host != "" {
		cfg.Host = p.host
	}
	if target.Scheme == "https" {
		name := url.URL{Host: cfg.Host}
		cfg.TLS = &tls.Config{
			ServerName: name.Hostname(), NextProtos: []string{"http/1.1"},
			InsecureSkipVerify: p.insecure,
		}
	}
	cfg.Fresh = p.clients * p.fresh / 100
	cfg.KeepAlive = p.clients - cfg.Fresh
	return target, cfg, nil
}

func proveTarget(arg string) (*url.URL, error) {
	target, err := url.Parse(arg)
	switch {
	case err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "":
		return nil, fmt.Errorf("%q is not a URL: write one like http://localhost:8080/", arg)
	case target.User != nil:
		return nil, fmt.Errorf("%s: the URL has a user; give credentials with --header", target.Redacted())
	}
	if target.Path == "" {
		target.Path = "/"
	}
	return target, nil
}

func parseHeader(lines []string) (http.Header, error) {
	header := http.Header{}
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch {
		case !found || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsAny(value, "\r\n"):
			return nil, fmt.Errorf("--header %q: want \"Name: value\"", line)
		case name == "Host":
			return nil, fmt.Errorf("--header %q: use --host", line)
		case name == prove.HeaderID || name == "Content-Length" || name == "Transfer-Encoding" || name == "Connection":
			return nil, fmt.Errorf("--header %q: %s is the load client's own", line, name)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, nil
}

// findable tells a mistake, a log that is not there or a URL at which nobody is, from a
// service that loses requests.
func (p *proveOptions) findable(ctx context.Context, cfg prove.Config) error {
	if p.log != "" {
		f, err := os.Open(p.log)
		if err != nil {
			return fmt.Errorf("--log: %w", err)
		}
		f.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", cfg.Target)
	if err != nil {
		return fmt.Errorf("nobody can be reached at %s: %w", cfg.Target, cause(err))
	}
	defer c.Close()
	if cfg.TLS == nil {
		return nil
	}
	if err := tls.Client(c, cfg.TLS).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("no TLS with %s: %w; --insecure takes any certificate", cfg.Target, err)
	}
	return nil
}

// cause leaves out of an error of the network what the message says already.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// load runs the load to its end, and says each second how it goes.
func (p *proveOptions) load(ctx context.Context, gen *prove.Generator, w *counterpart, progress *progress) error {
	if p.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.duration)
		defer cancel()
	}
	done := make(chan error, 1)
	go func() { done <- gen.Run(ctx) }()
	looking, stop := context.WithCancel(context.WithoutCancel(ctx))
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		w.look(looking)
	}()
	defer func() {
		stop()
		<-looked
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			progress.end(gen.Report(), w.under())
			return err
		case <-tick.C:
			progress.say(gen.Report(), w.under())
		}
	}
}
