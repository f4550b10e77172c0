package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestExamples deploys programs that nobody here wrote, as their own segue.yaml
// says, twice under load and back.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, service, program, says string }{
		{"nginx", "site", "nginx", "Served by nginx"},
		{"node", "hello-node", "node", "hello from Node"},
		{"python", "hello-python", "python3", "hello from Python"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(test.program); err != nil {
				t.Fatalf("%s is not installed; .ci/install installs it", test.program)
			}
			s := newStage(t).serve()
			file, err := filepath.Abs(filepath.Join("..", "examples", test.name, "segue.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			s.expect(0, "deploy", "-f", file)
			if code, body := s.get("/"); code != http.StatusOK || !strings.Contains(body, test.says) {
				t.Fatalf("%d %s", code, body)
			}
			lost := s.hammer(test.says)
			s.contains(s.expect(0, "deploy", "-f", file), "promoted, r2 is stable")
			s.contains(s.expect(0, "rollback", "-s", test.service), "promoted, r1 is stable")
			if sent, bad := lost(); bad > 0 || sent == 0 {
				t.Errorf("%d of %d requests were not answered as they should be", bad, sent)
			}
			var r receipt
			if err := s.JSON(t.Context(), &r, "receipt", "-s", test.service, "d2"); err != nil {
				t.Fatal(err)
			}
			if r.Total.Lost > 0 || r.Total.Accepted == 0 {
				t.Errorf("receipt: %+v", r)
			}
		})
	}
}

// hammer asks for / from some clients, keep-alive and fresh, until the function
// that it returns is called, which says how many it sent and how many went wrong.
// Programs that don't mark their answers need no better client.
func (s *stage) hammer(want string) func() (sent, bad int64) {
	var (
		wg        sync.WaitGroup
		done      atomic.Bool
		sent, bad atomic.Int64
	)
	for i := range 6 {
		client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		wg.Go(func() {
			for !done.Load() {
				sent.Add(1)
				if err := ask(&client, "http://"+s.Address+"/", want); err != nil {
					bad.Add(1)
					s.t.Log(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return func() (int64, int64) {
		done.Store(true)
		wg.Wait()
		return sent.Load(), bad.Load()
	}
}

func ask(client *http.Client, url, want string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}
