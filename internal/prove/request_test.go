package prove

import (
	"io"
	"math/rand/v2"
	"net/url"
	"testing"
)

func TestPage(t *testing.T) {
	target, err := url.Parse("http://localhost/a%2Fb/c?d=e%20f")
	if err != nil {
		t.Fatal(err)
	}
	c := Client{Random: rand.New(rand.NewPCG(1, 1))}
	next := Page{Method: "PUT", Target: *target, Posts: 25, Body: 600}.Requests(c)
	kinds := map[Kind]int{}
	for range 1000 {
		r := next("id")
		kinds[r.Kind]++
		if got := r.HTTP.URL.RequestURI(); got != "/a%2Fb/c?d=e%20f" {
			t.Fatalf("target %s", got)
		}
		if r.Kind == "put" {
			if r.HTTP.Method != "PUT" || r.HTTP.Body != nil {
				t.Fatalf("%+v", r.HTTP)
			}
			continue
		}
		body, err := io.ReadAll(r.HTTP.Body)
		if err != nil || r.HTTP.Method != "POST" || r.HTTP.ContentLength != 600 || len(body) != 600 || body[0] != 0 || body[251] != 0 || body[599] != 97 {
			t.Fatalf("%+v, %v", r.HTTP, err)
		}
	}
	if kinds["post"] < 200 || kinds["post"] > 300 || len(kinds) != 2 {
		t.Errorf("%v", kinds)
	}
	if got := (Page{}.Requests(c))("id").HTTP; got.Method != "GET" || got.URL.RequestURI() != "/" {
		t.Errorf("%+v", got)
	}
}

func TestIdempotentMethods(t *testing.T) {
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true, "POST": false, "PATCH": false, "get": false} {
		if got := isIdempotent(method); got != want {
			t.Errorf("%s: %t", method, got)
		}
	}
}
