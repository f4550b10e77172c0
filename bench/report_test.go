package main

import (
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func costs(values ...float64) []sample {
	var all []sample
	for _, v := range values {
		all = append(all, sample{cpu: v, user: v / 4, rate: 1e6 / v})
	}
	return all
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{100, 1, 3}, 3},
		{[]float64{4, 100, 2, 1}, 3},
	} {
		if got := median(costs(c.values...), sample.cost); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
	if got := median(nil, sample.cost); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00", 1.499: "1.50", 12.34: "12.3", -12.34: "-12.3", 123.4: "123", 43021.4: "43021"} {
		if got := number(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}

func compared(t *testing.T, args ...string) comparison {
	t.Helper()
	c, err := parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReport(t *testing.T) {
	c := compared(t, "-only", "segue,nginx,haproxy", "-cases", "1k")
	all := results{"1k": {"segue": costs(9, 100, 10), "nginx": costs(20, 12.5, 1), "haproxy": costs(15, 16, 17)}}
	var out strings.Builder
	c.report(&out, all)
	want := `
**GET 1 KiB, 64 connections**

| proxy           | CPU per request, µs | user | system | requests per s | p50, µs | p99, µs | memory, MiB |
|-----------------|--------------------:|-----:|-------:|---------------:|--------:|--------:|------------:|
| segue           |                10.0 | 2.50 |   0.00 |         100000 |    0.00 |    0.00 |        0.00 |
| nginx           |                12.5 | 3.12 |   0.00 |          80000 |    0.00 |    0.00 |        0.00 |
| haproxy         |                16.0 | 4.00 |   0.00 |          62500 |    0.00 |    0.00 |        0.00 |
| segue ÷ nginx   |                0.80 | 0.80 |    NaN |           1.25 |     NaN |     NaN |         NaN |
| segue ÷ haproxy |                0.62 | 0.62 |    NaN |           1.60 |     NaN |     NaN |         NaN |
`
	if out.String() != want {
		t.Errorf("got%s", out.String())
	}
	if got, want := c.summary(all), "cpu per request: 0.80 of nginx, 0.62 of haproxy"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Two builds of Segue are compared with each other, too, and the last line is about the
// second.
func TestSummaryOfTwoBuilds(t *testing.T) {
	c := compared(t, "-segue", "old,new", "-only", "segue,nginx", "-cases", "1k")
	all := results{"1k": {"segue A": costs(10), "segue B": costs(8), "nginx": costs(16)}}
	if got, want := c.summary(all), "cpu per request: 0.80 of segue A, 0.50 of nginx"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c = compared(t, "-cases", "64k")
	if got := c.summary(results{"64k": {"segue": costs(1)}}); got != "" {
		t.Errorf("%q about a case that wasn't measured", got)
	}
}

func TestBetween(t *testing.T) {
	at := time.Now()
	before := reading{at, 1000, usage{cpu: time.Second, user: 10, system: 10, memory: 1 << 20}}
	after := reading{at.Add(2 * time.Second), 51_000, usage{cpu: 1500 * time.Millisecond, user: 20, system: 50, memory: 3 << 20}}
	got, err := between(before, after)
	if want := (sample{cpu: 10, user: 2, system: 8, rate: 25_000, memory: 3}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := between(before, before); err == nil {
		t.Error("no error when nothing was answered")
	}
}
