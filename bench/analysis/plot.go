package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/segue-deploy/segue/internal/analysis"
)

// The plot's size, and the powers of ten that it shows.
const (
	width, height = 760, 380
	left, bottom  = 60, 40
	lowest, top   = -6.0, 4.0
	shown         = 60_000
)

// plot draws the evidence against a candidate over the requests of the service, for a few
// runs, as an SVG.
func plot() string {
	lines := []struct {
		name, colour string
		t            traffic
	}{
		{"healthy, 1 %", "#2e7d32", healthy(0.01, 0.05, shown)},
		{"1 → 2 %", "#ef6c00", traffic{shown, always(0.05), always(0.01), always(0.02), 1}},
		{"0.1 → 1 %", "#c62828", traffic{shown, always(0.05), always(0.001), always(0.01), 1}},
		{"0.1 → 2 % after 30,000 requests", "#1565c0", traffic{shown, always(0.05), always(0.001), func(i int) float64 {
			if i < shown/2 {
				return 0.001
			}
			return 0.02
		}, 1}},
	}
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	for power := lowest; power <= top; power += 2 {
		fmt.Fprintf(&s, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">10^%g</text>`+"\n",
			left, width-10, y(power), y(power), left-6, y(power)+4, power)
	}
	enough := y(-math.Log10(alpha))
	fmt.Fprintf(&s, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#000" stroke-dasharray="5 4"/><text x="%d" y="%.1f" text-anchor="end">enough for a fail: 1/α</text>`+"\n",
		left, width-10, enough, enough, width-12, enough-5)
	for n := 0; n <= shown; n += 10_000 {
		fmt.Fprintf(&s, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), height-bottom+18, n)
	}
	fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="middle">requests of both releases, 5 %% of them to the candidate</text>`+"\n", width/2, height-6)
	for i, l := range lines {
		fmt.Fprintf(&s, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`+"\n", l.colour, path(l.t, uint64(i+1)))
		fmt.Fprintf(&s, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+10, height-bottom-12-16*(len(lines)-1-i), l.colour, l.name)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func x(request int) float64 {
	return left + float64(request)/shown*(width-left-10)
}

func y(power float64) float64 {
	power = min(max(power, lowest), top)
	return 15 + (top-power)/(top-lowest)*(height-bottom-15)
}

// path returns the points of one run, a tick apart.
func path(t traffic, seed uint64) string {
	c := analysis.NewComparison(1, 0, analysis.DefaultTicks)
	var s strings.Builder
	t.send(rand.New(rand.NewPCG(20261126, seed)), func(i int, w float64, k counts) bool { //nolint:gosec // seeds are to be known
		if i%perTick == 0 {
			fail, _ := c.Evidence()
			fmt.Fprintf(&s, "%.1f,%.1f ", x(i), y(fail/math.Ln10))
			c.Begin()
		}
		c.Add(w, k.stable, k.candidate)
		return true
	})
	return strings.TrimSpace(s.String())
}
