package proxy

import (
	"context"
	"fmt"
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
