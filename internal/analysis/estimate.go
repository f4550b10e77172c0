package analysis

import "math"

// confidence is how sure an interval of an [Estimate] is.
const confidence = 0.95

func newEstimate(c Counts) Estimate {
	e := Estimate{Counts: c, High: 1}
	if c.Requests == 0 {
		return e
	}
	e.Share = float64(c.Failed) / float64(c.Requests)
	e.Low, e.High = interval(c, 1-confidence)
	return e
}

// Bounds of the exponents that the intervals bet with: the powers of two from 1/512 to 16.
// They fit shares that are estimated from one failure up to those from a million.
const (
	exponents     = 14
	leastExponent = 1.0 / 512
)

// interval returns a confidence sequence for the mean of the rates that the requests so far
// had: at all times together it holds it with a probability of at least 1−alpha, and the
// rates may change in any way that doesn't look ahead.
//
// For a failure X with rate p, exp(λX − ln(1 − p + p·exp(λ))) has an expected value of 1. The
// product of these over all requests is at least exp(λS − n·ln(1 − p̄ + p̄·exp(λ))), with S
// failures among n requests and the mean p̄ of their rates, since the logarithm is concave
// in p. So by Ville's inequality no p̄ for which a mixture of that over some λ, positive
// ones for a lower bound and negative ones for an upper one, reaches 2/alpha is the mean.
//
// Source: the sub-Bernoulli boundary by a discrete mixture, S. Howard, A. Ramdas, J.
// McAuliffe and J. Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
// Annals of Statistics 49(2) (2021). It needs nothing but counts. A mixture over rates, as
// Robbins' with the beta distribution, is narrower by little, and doesn't hold under drift.
func interval(c Counts, alpha float64) (low, high float64) {
	enough := math.Log(2 / alpha)
	share := float64(c.Failed) / float64(c.Requests)
	low = bisect(0, share, func(p float64) bool { return against(c, p, 1) > enough })
	high = bisect(share, 1, func(p float64) bool { return against(c, p, -1) < enough })
	return low, high
}

// against returns the logarithm of the evidence that the mean rate is higher than p, or lower
// if sign is −1.
func against(c Counts, p, sign float64) float64 {
	n, failed := float64(c.Requests), float64(c.Failed)
	sum := math.Inf(-1)
	lambda := sign * leastExponent
	for range exponents {
		sum = sumLogs(sum, lambda*failed-n*math.Log1p(p*math.Expm1(lambda)))
		lambda *= 2
	}
	return sum - math.Log(exponents)
}

// bisect returns where under, which holds from low on, stops to hold before high.
func bisect(low, high float64, under func(float64) bool) float64 {
	for range 60 {
		if middle := (low + high) / 2; under(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}
