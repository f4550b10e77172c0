//go:build race

package deploy

const stride = 5
