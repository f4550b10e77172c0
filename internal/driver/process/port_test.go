//go:build linux

package process

import (
	"net"
	"testing"
)

func TestPorts(t *testing.T) {
	stranger, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	busy := stranger.Addr().(*net.TCPAddr).Port
	p := newPorts(busy, busy)
	if port, err := p.take(); err == nil {
		t.Errorf("got port %d, on which somebody listens", port)
	}
	stranger.Close()
	port, err := p.take()
	if err != nil || port != busy {
		t.Fatalf("got port %d, error %v", port, err)
	}
	if p.keep(port) {
		t.Error("a port was given to two")
	}
	if _, err := p.take(); err == nil {
		t.Error("a port was given to two")
	}
	p.giveBack(port)
	if !p.keep(port) {
		t.Error("a port that was given back is still taken")
	}

	p = newPorts(21000, 21999)
	seen := map[int]bool{}
	for range 100 {
		port, err := p.take()
		if err != nil || seen[port] || port < 21000 || port > 21999 {
			t.Fatalf("got port %d, error %v", port, err)
		}
		seen[port] = true
		if len(seen)%2 == 0 {
			p.giveBack(port) // isn't used again soon
		}
	}
}
