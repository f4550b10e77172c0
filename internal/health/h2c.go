package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// GRPC is a call of the gRPC health checking protocol, grpc.health.v1.Health/Check (its
// "health-checking.md"). The healthy answer is SERVING. It needs a [Target] that speaks
// H2C.
type GRPC struct {
	// Service is the name that is asked for; empty is the server as a whole.
	Service string `json:"service,omitempty"`
}

// servings are the names of the statuses of a HealthCheckResponse.
func servings() []string { return []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"} }

// serving is the index of the healthy one.
const serving = 1

// ask makes the call on conn and judges the answer.
func (g *GRPC) ask(ctx context.Context, conn net.Conn, timeout time.Duration) error {
	const method = "/grpc.health.v1.Health/Check"
	what := "gRPC health of the server"
	if g.Service != "" {
		what = "gRPC health of " + g.Service
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+method, bytes.NewReader(g.message()))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {agent}}
	err = overH2C(req, conn, readServing)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	case isTimeout(err):
		return fmt.Errorf("%s: no answer within %v", what, timeout)
	}
	return fmt.Errorf("%s: %w", what, bare(err))
}

// message is a HealthCheckRequest, whose field 1 is the service's name, with the prefix of
// gRPC: not compressed, and its length.
func (g *GRPC) message() []byte {
	var message []byte
	if g.Service != "" {
		message = append(message, 1<<3|2)
		message = binary.AppendUvarint(message, uint64(len(g.Service)))
		message = append(message, g.Service...)
	}
	prefix := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(prefix, message...)
}

// readServing reads a HealthCheckResponse, whose field 1 is the status.
func readServing(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, which is no answer of gRPC", resp.StatusCode)
	}
	message, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	code, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if code == "" { // an answer without a message has one head only
		code, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	if code != "0" {
		return fmt.Errorf("gRPC status %s %s", code, text)
	}
	const prefix = 5
	status := uint64(0)
	if len(message) > prefix+1 && message[prefix] == 1<<3 {
		status, _ = binary.Uvarint(message[prefix+1:])
	}
	if status == serving {
		return nil
	}
	name := fmt.Sprint(status)
	if names := servings(); status < uint64(len(names)) {
		name = names[status]
	}
	return fmt.Errorf("%s, want %s", name, servings()[serving])
}

// exchangeH2C is exchange by HTTP/2.
func (h *HTTP) exchangeH2C(req *http.Request, conn net.Conn) (status int, err error) {
	err = overH2C(req, conn, func(resp *http.Response) error {
		status = resp.StatusCode
		_, err := io.CopyN(io.Discard, resp.Body, maxBody)
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return status, err
}

// overH2C sends a request on a fresh connection by HTTP/2 with prior knowledge (RFC 9113
// section 3.3), and has its answer read.
func overH2C(req *http.Request, conn net.Conn, read func(*http.Response) error) error {
	transport := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		Protocols:              new(http.Protocols),
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return read(resp)
}
