package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// sizes are how many services a table has in what follows.
func sizes() []int { return []int{1, 1000, 10_000} }

// tableOf returns a table of n services, each with two releases of two upstreams. Every
// tenth takes all names below its own.
func tableOf(n int) Table {
	t := Table{Version: 1}
	for i := range n {
		host := fmt.Sprintf("s%d.example.com", i)
		if i%10 == 9 {
			host = "*." + host
		}
		address := func(instance int) Upstream { return at(fmt.Sprintf("127.0.0.1:%d", 1000+4*i%60_000+instance)) }
		t.Services = append(t.Services, Service{
			Name:     fmt.Sprintf("s%d", i),
			Hosts:    []string{host},
			Paths:    []string{"/", "/api", "/static"},
			Releases: []Release{rel("r1", 90, address(0), address(1)), rel("r2", 10, address(2), address(3))},
		})
	}
	return t
}

// BenchmarkLookup is what it costs a request to find its service.
func BenchmarkLookup(b *testing.B) {
	for _, n := range sizes() {
		routes := compile(tableOf(n), newTestRegistry()).routes
		for _, c := range []struct{ kind, host string }{
			{"exact", fmt.Sprintf("s%d.example.com", n/20*10)},
			{"port", fmt.Sprintf("s%d.example.com:8080", n/20*10)},
			{"case", strings.ToUpper(fmt.Sprintf("s%d.example.com", n/20*10))},
			{"wildcard", fmt.Sprintf("a.b.s%d.example.com", n/20*10+9)},
			{"none", "unknown.example.com"},
		} {
			if found := routes.find(c.host, "/api/users/7"); (found == nil) != (c.kind == "none") {
				continue // One service alone has no wildcard.
			}
			b.Run(fmt.Sprintf("services=%d/%s", n, c.kind), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					routes.find(c.host, "/api/users/7")
				}
			})
		}
	}
}

// BenchmarkCompile is the part of a new table that makes its routes.
func BenchmarkCompile(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			table, reg := tableOf(n), newTestRegistry()
			b.ReportAllocs()
			for b.Loop() {
				compile(table, reg)
			}
		})
	}
}

// BenchmarkApply is a shift of one service's weights, from the table to its being in
// force.
func BenchmarkApply(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			p, table := New(Config{}), tableOf(n)
			b.ReportAllocs()
			for b.Loop() {
				table.Version++
				shifted := table.Services[n/2].Releases
				shifted[0].Weight, shifted[1].Weight = shifted[1].Weight, shifted[0].Weight
				if err := p.Apply(context.Background(), table); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTunnel passes 1 MiB through an upgraded connection.
func BenchmarkTunnel(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	piece := make([]byte, 1<<20)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bulk\r\n\r\n")
		for {
			if _, err := r.ReadByte(); err != nil {
				return
			}
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
	}()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	p := New(Config{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, []net.Listener{front}, nil) }()
	if err := p.Apply(ctx, Table{Version: 1, Services: []Service{web(rel("r1", 100, at(l.Addr().String())))}}); err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: bulk\r\n\r\n")
	r := bufio.NewReader(c)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
		b.Fatal(resp, err)
	}
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		c.Write([]byte{1})
		if _, err := io.CopyN(io.Discard, r, int64(len(piece))); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	cancel()
	<-ended
}
