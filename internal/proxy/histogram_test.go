package proxy

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHistogramBucketsHaveNoGaps(t *testing.T) {
	var next time.Duration
	for i := range maxBuckets {
		low, high := bucketBounds(i)
		if low != next || high <= low {
			t.Fatalf("bucket %d is from %d to %d, want from %d", i, low, high, next)
		}
		if bucketOf(low) != i || bucketOf(high-1) != i {
			t.Fatalf("bucket %d: its bounds belong to %d and %d", i, bucketOf(low), bucketOf(high-1))
		}
		next = high
	}
	if got := bucketOf(math.MaxInt64); got != maxBuckets-1 {
		t.Errorf("the longest duration is in bucket %d, want the last one", got)
	}
}

func TestHistogramErrorBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(10*time.Microsecond), int64(10*time.Minute)).Draw(t, "d"))
		var h Histogram
		h.Observe(d)
		h.Observe(time.Hour) // so that the quantile isn't the exact maximum
		got := h.Quantile(0.5)
		if relative := math.Abs(float64(got-d)) / float64(d); relative > 1.0/60 {
			t.Fatalf("%v is kept as %v, %.2f %% off", d, got, 100*relative)
		}
	})
}

func TestHistogramQuantiles(t *testing.T) {
	var h Histogram
	var all []time.Duration
	for range 10000 {
		d := time.Duration(rand.ExpFloat64() * float64(20*time.Millisecond))
		h.Observe(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(math.Ceil(q*10000))-1]
		if got := h.Quantile(q); math.Abs(float64(got-want)) > 0.03*float64(want)+256 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.Max() != all[len(all)-1] || h.Count() != 10000 {
		t.Errorf("max %v and count %d, want %v and 10000", h.Max(), h.Count(), all[len(all)-1])
	}
}

func TestHistogramEmpty(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Max() != 0 || h.Count() != 0 {
		t.Error("an empty histogram has durations")
	}
	if s := h.Minus(h).Plus(h); s.Count() != 0 {
		t.Error("nothing and nothing is something")
	}
}

func TestHistogramPlusMinusJSON(t *testing.T) {
	draw := rapid.SliceOf(rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(15*time.Minute)).Draw(t, "d"))
	}))
	rapid.Check(t, func(t *rapid.T) {
		var a, b, both Histogram
		for _, d := range draw.Draw(t, "a") {
			a.Observe(d)
			both.Observe(d)
		}
		for _, d := range draw.Draw(t, "b") {
			b.Observe(d)
			both.Observe(d)
		}
		if sum := a.Plus(b); !reflect.DeepEqual(form(t, sum), form(t, both)) {
			t.Fatalf("a + b = %v, want %v", form(t, sum), form(t, both))
		}
		window := both.Minus(a)
		if got, want := form(t, window).Buckets, form(t, b).Buckets; !reflect.DeepEqual(got, want) {
			t.Fatalf("a + b - a = %v, want %v", got, want)
		}
		if window.Max() < b.Max() && b.Max() < 1<<topBits || float64(window.Max()) > 1.032*float64(b.Max())+256 && b.Max() < 1<<topBits {
			t.Fatalf("the window's maximum is %v, want about %v", window.Max(), b.Max())
		}
		if window.Count() != b.Count() {
			t.Fatalf("the window has %d, want %d", window.Count(), b.Count())
		}
		text, err := json.Marshal(both)
		if err != nil {
			t.Fatal(err)
		}
		var back Histogram
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(form(t, back), form(t, both)) || back.Count() != both.Count() || back.Max() != both.Max() {
			t.Fatalf("JSON %s comes back as %v", text, form(t, back))
		}
	})
}

func TestHistogramRefusesNonsense(t *testing.T) {
	for _, text := range []string{`{"buckets":[1]}`, `{"buckets":[100000,1]}`, `{"buckets":[-1,1]}`, `7`} {
		var h Histogram
		if err := json.Unmarshal([]byte(text), &h); err == nil {
			t.Errorf("%s is read without an error", text)
		}
	}
}

// form is a histogram's JSON form as a value.
func form(t interface{ Fatal(...any) }, h Histogram) (j histogramJSON) {
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &j); err != nil {
		t.Fatal(err)
	}
	return j
}

// Above and Bound agree with each other: as many are above a quantile's bound as can be.
func TestHistogramAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Histogram
		all := rapid.SliceOfN(rapid.Int64Range(0, int64(15*time.Minute)), 1, 100).Draw(t, "durations")
		for _, d := range all {
			h.Observe(time.Duration(d))
		}
		bound := h.Bound(rapid.Float64Range(0, 1).Draw(t, "q"))
		want := uint64(0)
		for _, d := range all {
			if low, _ := bucketBounds(bucketOf(time.Duration(d))); low >= bound {
				want++
			}
		}
		if got := h.Above(bound); got != want {
			t.Errorf("above %s are %d, want %d", bound, got, want)
		}
		if low, high := bucketBounds(bucketOf(bound)); bound != low {
			t.Errorf("%s is no bound: its bucket is from %s to %s", bound, low, high)
		}
		if h.Above(bound-1) != h.Above(bound) {
			t.Errorf("a threshold between two bounds isn't rounded up: %d and %d", h.Above(bound-1), h.Above(bound))
		}
	})
}
