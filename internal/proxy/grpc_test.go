package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/segue-deploy/segue/internal/health"
)

// grpcService answers with its name.
type grpcService struct {
	testpb.UnimplementedTestServiceServer
	name string
}

func (s *grpcService) UnaryCall(_ context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if code := r.GetResponseStatus().GetCode(); code != 0 {
		return nil, status.Error(codes.Code(code), r.GetResponseStatus().GetMessage())
	}
	return &testpb.SimpleResponse{ServerId: s.name, Payload: r.GetPayload()}, nil
}

func (s *grpcService) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	for {
		r, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // as gRPC's docs have it
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

// grpcUpstream is a real gRPC server, with its health service.
func grpcUpstream(t *testing.T, name string) (Upstream, *grpchealth.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	testpb.RegisterTestServiceServer(s, &grpcService{name: name})
	h := grpchealth.NewServer()
	healthpb.RegisterHealthServer(s, h)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	u := at(l.Addr().String())
	u.Target.H2C = true
	return u, h
}

// A real gRPC client calls a real gRPC server: unary, failing, streaming and large calls,
// over a shift to another release, of which its one connection sees nothing.
func TestGRPC(t *testing.T) {
	stable, _ := grpcUpstream(t, "r1")
	candidate, _ := grpcUpstream(t, "r2")
	p := start(t, Config{}, canary(0, stable, candidate))
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := testpb.NewTestServiceClient(conn)
	calls := 0
	call := func(size int) string {
		t.Helper()
		calls++
		r, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, size)}})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.GetPayload().GetBody()); n != size {
			t.Errorf("%d of %d bytes came back", n, size)
		}
		return r.GetServerId()
	}
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	echo := func(size int) error {
		// EOF says that the stream has ended, and Recv how.
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: make([]byte, size)}}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		r, err := stream.Recv()
		if err == nil && len(r.GetPayload().GetBody()) != size {
			err = fmt.Errorf("%d of %d bytes came back", len(r.GetPayload().GetBody()), size)
		}
		return err
	}
	for _, size := range []int{0, 1, 100_000, 3 << 20} {
		if id := call(size); id != "r1" {
			t.Errorf("%s answers", id)
		}
		if err := echo(size); err != nil {
			t.Error(err)
		}
	}
	_, err = c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(codes.NotFound), Message: "no such thing"}})
	if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "no such thing" {
		t.Errorf("the error is %v", err)
	}

	p.apply(2, canary(100, stable, candidate))
	if id := call(1); id != "r2" {
		t.Errorf("after the shift %s answers", id)
	}
	if err := echo(1); err != nil {
		t.Errorf("the stream of before: %v", err)
	}
	if d, err := p.Drain(ctx, "web", "r1", DrainTimes{All: 100 * time.Millisecond}); err != nil || d.By != (Endings{Streams: Ending{Cut: 1}}) {
		t.Errorf("%+v, %v", d, err)
	}
	if err := echo(1); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream that was cut ends with %v", err)
	}
	if id := call(1); id != "r2" {
		t.Errorf("after the drain %s answers", id)
	}
	if n := p.stats().ConnectionsAccepted; n != 1 {
		t.Errorf("the client had to connect %d times", n)
	}
	if s := p.release("r1"); s.Answered[2] != 5 || s.Failed.Cut != 1 {
		t.Errorf("r1: %+v", s)
	}
}

// A gRPC server's word on its health is followed.
func TestGRPCHealth(t *testing.T) {
	up, h := grpcUpstream(t, "r1")
	ask := func(service string) error {
		return health.Check{GRPC: &health.GRPC{Service: service}, Timeout: patience}.Probe(context.Background(), up.Target)
	}
	if err := ask(""); err != nil {
		t.Errorf("the server: %v", err)
	}
	h.SetServingStatus("x", healthpb.HealthCheckResponse_SERVING)
	if err := ask("x"); err != nil {
		t.Errorf("x serves: %v", err)
	}
	h.SetServingStatus("x", healthpb.HealthCheckResponse_NOT_SERVING)
	if err := ask("x"); err == nil || err.Error() != "gRPC health of x: NOT_SERVING, want SERVING" {
		t.Errorf("x doesn't serve: %v", err)
	}
	if err := ask("y"); err == nil || !strings.Contains(err.Error(), "gRPC status 5 unknown service") {
		t.Errorf("y isn't there: %v", err)
	}
	plain := saying(t, "x")
	plain.Target.H2C = true
	if err := (health.Check{GRPC: &health.GRPC{}, Timeout: patience}).Probe(context.Background(), plain.Target); err == nil {
		t.Error("a server of HTTP/1.1 is healthy")
	}
}
