package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/segue-deploy/segue/internal/health"
	"github.com/segue-deploy/segue/internal/proxy"
)

// config has the configurations of the proxies, with the fields of [place], and wrk's.
//
//go:embed config
var config embed.FS

// contender is a proxy that takes part.
type contender struct {
	name string
	// segue is set for those that the others are compared with: ours.
	segue bool
	// binary is its program, version what follows it on a command line that says its
	// version.
	binary, version string
	// start runs it at a place.
	start func(ctx context.Context, c contender, at place) (*process, error)
}

// place is where a proxy runs, and what it must know.
type place struct {
	// Dir is a directory of its own.
	Dir string
	// Listen is where clients come, as a whole and in parts.
	Listen, Address, Port string
	// TCP and Unix are where the upstream listens, and the Host headers that lead
	// there.
	TCP, Unix         string
	TCPHost, UnixHost string
	// Workers is the number of cores, Clients how many of them a proxy must be able to
	// have, and Files how many descriptors.
	Workers, Clients, Files int
}

// others returns the proxies that ours is compared with. Where Debian puts their
// programs isn't always in the PATH of who is not root.
func others() []contender {
	return []contender{
		{name: "nginx", binary: "/usr/sbin/nginx", version: "-v", start: startNginx},
		{name: "haproxy", binary: "/usr/sbin/haproxy", version: "-v", start: startHAProxy},
		{name: "caddy", binary: "/usr/bin/caddy", version: "version", start: startCaddy},
	}
}

// ours returns one contender for each binary of Segue.
func ours(binaries []string) []contender {
	var all []contender
	for i, binary := range binaries {
		name := "segue"
		if len(binaries) > 1 {
			name += " " + string(rune('A'+i))
		}
		all = append(all, contender{name: name, segue: true, binary: binary, version: "version", start: startSegue})
	}
	return all
}

// kind is the name by which it is chosen to take part.
func (c contender) kind() string {
	if c.segue {
		return "segue"
	}
	return c.name
}

// check says whether all programs are there.
func (c comparison) check() error {
	programs := []string{"wrk", c.upstream}
	for _, who := range c.contenders {
		programs = append(programs, who.binary)
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w; 'make bench-quick' installs what is not ours and builds what is, and -only leaves proxies out", err)
		}
	}
	return nil
}

// says returns the first line of what the program says of its version.
func (c contender) says(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, c.binary, c.version).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func startNginx(ctx context.Context, c contender, at place) (*process, error) {
	file, err := at.render("nginx.conf")
	if err != nil {
		return nil, err
	}
	return start(ctx, c.name, at.Dir, nil, c.binary, "-p", at.Dir, "-c", file)
}

func startHAProxy(ctx context.Context, c contender, at place) (*process, error) {
	file, err := at.render("haproxy.cfg")
	if err != nil {
		return nil, err
	}
	return start(ctx, c.name, at.Dir, nil, c.binary, "-db", "-f", file)
}

func startCaddy(ctx context.Context, c contender, at place) (*process, error) {
	file, err := at.render("Caddyfile")
	if err != nil {
		return nil, err
	}
	return start(ctx, c.name, at.Dir, nil, c.binary, "run", "--adapter", "caddyfile", "--config", file)
}

// startSegue runs the proxy as the daemon does: on sockets that are open already, and
// with a table over its control socket.
func startSegue(ctx context.Context, c contender, at place) (*process, error) {
	path := filepath.Join(at.Dir, "proxy.sock")
	control, err := listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	clients, err := listen(ctx, "tcp", at.Listen)
	if err != nil {
		return nil, err
	}
	defer clients.Close()
	p, err := start(ctx, c.name, at.Dir, []*os.File{control, clients}, c.binary, "proxy", "--state-dir", at.Dir, "--sockets", "1")
	if err != nil {
		return nil, err
	}
	// Until it accepts, the connection waits in the socket.
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	if err := proxy.NewClient(path).Apply(ctx, at.table()); err != nil {
		err = p.failed(err)
		p.stop()
		return nil, err
	}
	return p, nil
}

// listen returns a listening socket to be handed over.
func listen(ctx context.Context, network, address string) (*os.File, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if l, ok := l.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false)
		return l.File()
	}
	return l.(*net.TCPListener).File()
}

// table leads each host to its upstream, as the configurations of the others do.
func (p place) table() proxy.Table {
	service := func(name, host, network, address string) proxy.Service {
		upstream := proxy.Upstream{ID: "1", Target: health.Target{Network: network, Address: address}}
		release := proxy.Release{ID: "r1", Weight: 100, Upstreams: []proxy.Upstream{upstream}}
		return proxy.Service{Name: name, Hosts: []string{host}, Releases: []proxy.Release{release}}
	}
	return proxy.Table{Version: 1, Services: []proxy.Service{
		service("tcp", p.TCPHost, "tcp", p.TCP),
		service("unix", p.UnixHost, "unix", p.Unix),
	}}
}

// render writes a configuration into the directory of p, and returns its path.
func (p place) render(name string) (string, error) {
	t, err := template.ParseFS(config, "config/"+name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(p.Dir, name)
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(t.Option("missingkey=error").Execute(file, p), file.Close())
}
