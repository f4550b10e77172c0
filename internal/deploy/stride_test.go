//go:build !race

package deploy

// stride is the distance of the events at which a sweep lets something happen.
const stride = 1
