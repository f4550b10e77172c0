// Package prometheustest runs the real Prometheus for tests.
package prometheustest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// patience is a safety net for what is waited for, and no measure of anything.
const patience = time.Minute

// Start runs a server that scrapes a page ten times a second until the test ends. It returns
// the server's URL once it has done so for the first time.
func Start(t *testing.T, page func() string) string {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is not installed, and this test is about the real one: run 'make deps'")
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, page())
	}))
	t.Cleanup(target.Close)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("scrape_configs:\n- job_name: web\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n  static_configs: [{targets: ['%s']}]\n", target.Listener.Addr())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := FreeAddress(t)
	var log bytes.Buffer
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", log.String())
		}
	})
	server := "http://" + address
	for end := time.Now().Add(patience); !hasScraped(server); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s prometheus has scraped nothing", patience)
		}
	}
	return server
}

// FreeAddress returns one of this machine's on which nobody listens.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func hasScraped(server string) bool {
	resp, err := http.Get(server + "/api/v1/query?query=" + url.QueryEscape("scrape_samples_scraped > 0"))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	return json.NewDecoder(resp.Body).Decode(&answer) == nil && len(answer.Data.Result) > 0
}
