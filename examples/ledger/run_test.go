package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the ledger itself, for what only a process can
// show.
func TestMain(m *testing.M) {
	if os.Getenv("LEDGER_TEST_AS_MAIN") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// ledger is a process of it.
type ledger struct {
	*exec.Cmd
	address string
}

func command(dir string, environment ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append([]string{"LEDGER_TEST_AS_MAIN=1", "SEGUE_RELEASE=r1", "DATA_DIR=" + dir, "PORT=" + freePort()}, environment...)
	return cmd
}

// freePort is one that nobody has right now.
func freePort() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer ln.Close()
	return fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
}

// startLedger returns when it listens.
func startLedger(t *testing.T, dir string) *ledger {
	t.Helper()
	cmd := command(dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	found := regexp.MustCompile(`msg=listening address=(\S+) `).FindStringSubmatch(line)
	if found == nil {
		t.Fatalf("%q, %v", line, err)
	}
	return &ledger{cmd, found[1]}
}

// stop ends it as Segue does.
func (l *ledger) stop(t *testing.T) {
	t.Helper()
	if err := l.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// post inserts an entry on a connection that nothing is sent on again.
func (l *ledger) post(t *testing.T, id string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+l.address+"/entries", "application/json", strings.NewReader(`{"id": "`+id+`", "amount": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestSecondProcessRefusesToRun(t *testing.T) {
	dir := t.TempDir()
	first := startLedger(t, dir)
	cmd := command(dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("a second one: %v, want exit code 1", err)
	}
	if want := fmt.Sprintf("ledger: another process has the ledger (process %d,", first.Process.Pid); !strings.Contains(stderr.String(), want) {
		t.Errorf("stderr %q, want %q", &stderr, want)
	}
	if got := first.post(t, "a"); got != http.StatusCreated {
		t.Errorf("the first one is disturbed: %d", got)
	}
	first.stop(t)
	next := startLedger(t, dir)
	if got := next.post(t, "a"); got != http.StatusConflict {
		t.Errorf("a in the next one: %d, want 409", got)
	}
	next.stop(t)
}

func TestKilledProcessKeepsNoLock(t *testing.T) {
	dir := t.TempDir()
	first := startLedger(t, dir)
	if got := first.post(t, "a"); got != http.StatusCreated {
		t.Fatal(got)
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	if got := startLedger(t, dir).post(t, "a"); got != http.StatusConflict {
		t.Errorf("a after kill -9: %d, want 409", got)
	}
}

// A request that is half there at SIGTERM is inserted and answered.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	l := startLedger(t, t.TempDir())
	c, err := net.Dial("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := `{"id": "a", "amount": 1}`
	in := bufio.NewReader(c)
	// Its interim answer says that the request is in a handler.
	fmt.Fprintf(c, "POST /entries HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	if line, err := in.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := l.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for refused := false; !refused; {
		other, err := net.Dial("tcp", l.address)
		if refused = err != nil; !refused {
			other.Close()
		}
	}
	fmt.Fprint(c, body)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("%v, %v", resp, err)
	}
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), `"row":1`) {
		t.Errorf("%q, %v", text, err)
	}
	if err := l.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

func TestProcessSaysWhyItCrashes(t *testing.T) {
	for environment, want := range map[string]string{
		"LEDGER_BEHAVIOUR=crash":     "ledger: crashing at once",
		"LEDGER_BEHAVIOUR=krash":     "ledger: LEDGER_BEHAVIOUR=krash: unknown",
		"DATA_DIR=/proc/nonexistent": "ledger: mkdir /proc/nonexistent",
	} {
		cmd := command(t.TempDir(), environment)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %v, stderr %q, want exit code 1 and %q", environment, err, &stderr, want)
		}
	}
}
