// Command upstream is what stands behind the proxies in the benchmark: a server that
// costs so little that what is measured is the proxy in front of it. It is one loop
// over epoll on raw sockets (loop.go), with one read and one write a request; what it
// reads of HTTP/1.1 is just what a correct proxy sends (conn.go).
//
// It answers GET /1k, /64k and /1m with as many bytes, POST to anything with "ok"
// when the whole body has come, and GET /count with how many of these there were until
// then, so that whoever measures knows what happened between two moments.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"syscall"
)

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "the TCP address")
	path := flag.String("unix", "", "the path of a unix socket")
	flag.Parse()
	// It serves until it is killed, or can't.
	err := serve(context.Background(), *address, *path)
	fmt.Fprintln(os.Stderr, "upstream:", err)
	os.Exit(1)
}

func serve(ctx context.Context, address, path string) error {
	l, err := newLoop()
	if err != nil {
		return err
	}
	for _, socket := range []struct{ network, address string }{{"tcp", address}, {"unix", path}} {
		fd, err := listen(ctx, socket.network, socket.address)
		if err != nil {
			return err
		}
		if err := l.listen(fd); err != nil {
			return err
		}
	}
	return l.run()
}

// listen returns a listening socket that Go's own poller knows nothing of.
func listen(ctx context.Context, network, address string) (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, network, address)
	if err != nil {
		return 0, err
	}
	file, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return 0, fmt.Errorf("a listener on %s has no descriptor", network)
	}
	f, err := file.File()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return syscall.Dup(int(f.Fd()))
}
