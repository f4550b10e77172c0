package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// tests are the package's, which must leave no goroutine behind.
type tests struct{ *testing.M }

// Run is part of testscript.TestingM.
func (m tests) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"segue": Main, "web-service": runService})
}

// programsEnd is for the race detector, which would wait for a second at the end of each
// program.
const programsEnd = "atexit_sleep_ms=0"

// TestScripts are scenarios at a prompt, without a daemon.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("SEGUE_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("GORACE", programsEnd)
			return nil
		},
	})
}

// runService is a service for scripts: it answers on the socket in SOCKET, and every
// request the same.
func runService() {
	l, err := net.Listen("unix", os.Getenv("SOCKET"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
