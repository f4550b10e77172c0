package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/api"
	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// ErrNoData says that a source has nothing to say about a release just now.
var ErrNoData = errors.New("no data")

// Prometheus asks a server of Prometheus.
type Prometheus struct {
	server string
	api    prometheus.API
}

// NewPrometheus returns one for the server at a URL, as in "http://127.0.0.1:9090".
func NewPrometheus(server string) (*Prometheus, error) {
	client, err := api.NewClient(api.Config{Address: server})
	if err != nil {
		return nil, fmt.Errorf("prometheus at %s: %w", server, err)
	}
	return &Prometheus{server, prometheus.NewAPI(client)}, nil
}

// Value returns the one value of an instant query, of now. The error is [ErrNoData] when
// there is none: the query has no result, which is also so for a series that is stale (by
// the server's own rule: it has no sample within five minutes), or its value is NaN, as the
// share of nothing is. More than one value is an error, too.
func (p *Prometheus) Value(ctx context.Context, query string) (float64, error) {
	result, _, _, err := p.api.Query(ctx, query, time.Now())
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return 0, fmt.Errorf("prometheus at %s: %w", p.server, err)
	}
	value, err := single(result)
	if err != nil {
		return 0, fmt.Errorf("prometheus at %s: %q: %w", p.server, query, err)
	}
	return value, nil
}

func single(result model.Value) (float64, error) {
	var value float64
	switch r := result.(type) {
	case *model.Scalar:
		value = float64(r.Value)
	case model.Vector:
		switch len(r) {
		case 0:
			return 0, fmt.Errorf("%w: no series is found, or it is stale", ErrNoData)
		case 1:
			value = float64(r[0].Value)
		default:
			return 0, fmt.Errorf("it has %d values, want one; sum them up, or choose one by its labels", len(r))
		}
	default:
		return 0, fmt.Errorf("its result is a %s, want one value", result.Type())
	}
	if math.IsNaN(value) {
		return 0, fmt.Errorf("%w: the value is NaN", ErrNoData)
	}
	return value, nil
}
