package prove

import (
	"log/slog"
	"maps"
	"reflect"
	"testing"
	"time"
)

// counted is a generator that has counted answers and moves, at times in milliseconds
// since its start.
func counted(all ...[2]any) (*Generator, func(ms int) time.Time) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	g := &Generator{ledger: newLedger(0, 5, slog.New(slog.DiscardHandler))}
	g.ledger.begin(start)
	for _, one := range all {
		r := Result{Outcome: OK, Kind: "get", Status: 200, Whole: true, Started: at(one[1].(int)), Took: 10 * time.Millisecond}
		switch who := one[0].(type) {
		case string:
			r.Release = who
			g.ledger.sent()
			g.ledger.ended(r)
		case Move:
			r.Release = who.To
			g.ledger.moved(who.From, r)
		}
	}
	return g, at
}

func TestOutside(t *testing.T) {
	g, at := counted([2]any{"r1", 50}, [2]any{"r1", 450}, [2]any{"r1", 495}, [2]any{"r1", 850}, [2]any{"r2", 450}, [2]any{"r2", 850}, [2]any{"", 450})
	for name, c := range map[string]struct {
		windows []Window
		want    map[string]uint64
	}{
		"none":              {nil, map[string]uint64{"r1": 4, "r2": 2}},
		"always":            {[]Window{{Release: "r1"}, {Release: "r2"}}, map[string]uint64{}},
		"too late":          {[]Window{{Release: "r1", End: at(500)}, {Release: "r2"}}, map[string]uint64{"r1": 1}},
		"over at the end":   {[]Window{{Release: "r1", End: at(455)}, {Release: "r2"}}, map[string]uint64{"r1": 2}},
		"under way at last": {[]Window{{Release: "r1", End: at(40)}, {Release: "r1", Begin: at(500)}, {Release: "r2"}}, map[string]uint64{"r1": 1}},
		"too early":         {[]Window{{Release: "r1"}, {Release: "r2", Begin: at(461)}}, map[string]uint64{"r2": 1}},
		"not too early":     {[]Window{{Release: "r1"}, {Release: "r2", Begin: at(460)}}, map[string]uint64{}},
		"between":           {[]Window{{Release: "r1", End: at(100)}, {Release: "r1", Begin: at(800)}, {Release: "r2"}}, map[string]uint64{"r1": 2}},
		"overlapping":       {[]Window{{Release: "r1", Begin: at(400)}, {Release: "r1", End: at(500)}, {Release: "r2"}}, map[string]uint64{}},
		"of a move":         {[]Window{{From: "r1", Release: "r2"}, {Release: "r1"}}, map[string]uint64{"r2": 2}},
	} {
		if got := g.Outside(c.windows); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestMovesWithin(t *testing.T) {
	g, at := counted([2]any{"r1", 10}, [2]any{Move{From: "r1", To: "r2"}, 150}, [2]any{Move{From: "r2", To: "r1"}, 250}, [2]any{Move{From: "r2", To: "r1"}, 650})
	for name, c := range map[string]struct {
		windows []Window
		want    []Move
	}{
		"none":    {nil, nil},
		"one":     {[]Window{{From: "r2", Release: "r1", Begin: at(100), End: at(400)}}, []Move{{"r2", "r1", 1}}},
		"no end":  {[]Window{{From: "r2", Release: "r1", Begin: at(100)}}, []Move{{"r2", "r1", 2}}},
		"forward": {[]Window{{From: "r1", Release: "r2", Begin: at(100), End: at(400)}}, []Move{{"r1", "r2", 1}}},
		"answers": {[]Window{{Release: "r1"}}, nil},
		"later":   {[]Window{{From: "r2", Release: "r1", Begin: at(700)}}, nil},
	} {
		if got := g.MovesWithin(c.windows); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := g.After(at(0)); !maps.Equal(got, map[string]uint64{"r1": 1}) {
		t.Errorf("a move was taken for an answer: %v", got)
	}
}

func TestDuring(t *testing.T) {
	g, at := counted([2]any{"r1", 110}, [2]any{"r1", 190}, [2]any{"r2", 210}, [2]any{"", 290}, [2]any{"r1", 310}, [2]any{Move{From: "r1", To: "r2"}, 210})
	for _, c := range []struct {
		from, to    int
		least, most uint64
	}{
		{0, 400, 5, 5}, {100, 300, 4, 4}, {150, 250, 1, 3}, {200, 250, 1, 1}, {191, 209, 0, 0}, {400, 500, 0, 0},
	} {
		if p := g.During(at(c.from), at(c.to)); p.Least != c.least || p.Most != c.most || p.Lost > 0 || (p.Slowest == 10*time.Millisecond) != (p.Most > 0) {
			t.Errorf("from %d to %d ms: %+v, want %d to %d", c.from, c.to, p, c.least, c.most)
		}
	}
	g.ledger.sent()
	g.ledger.ended(Result{Outcome: Lost, Cause: "reset", Err: mismatch("x"), Started: at(220), Took: time.Second})
	if p := g.During(at(200), at(300)); p != (Part{Least: 3, Most: 3, Lost: 1, Slowest: 10 * time.Millisecond}) {
		t.Errorf("with a lost one: %+v", p)
	}
}
