package artifact

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// putForever puts and collects artifacts until it is killed, and prints the
// digest of each that is put and then kept.
func putForever(dir string) {
	fmt.Println("started")
	s, err := Open(dir, testMaxBytes)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	keep := map[string]bool{}
	for {
		var stream bytes.Buffer
		source, err := os.MkdirTemp(filepath.Dir(dir), "source")
		if err == nil {
			for i := range 1 + rand.IntN(5) {
				err = os.WriteFile(fmt.Sprintf("%s/%d", source, i), make([]byte, rand.IntN(50_000)), 0o600)
			}
		}
		if err == nil {
			err = Pack(context.Background(), source, &stream)
		}
		var a Artifact
		if err == nil {
			a, err = s.Put(context.Background(), &stream)
		}
		if err == nil && rand.IntN(2) == 0 {
			keep[a.Digest] = true
			fmt.Println(a.Digest)
		}
		if err == nil {
			_, err = s.Collect(context.Background(), keep)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// Whatever has a digest's name after a kill is whole, and what Put returned is
// there.
func TestKillLeavesWholeArtifacts(t *testing.T) {
	const kills = 20
	s := openStore(t)
	for range kills {
		for _, digest := range putAndKill(t, s.dir) {
			if !s.Has(digest) {
				t.Fatalf("%s was put and isn't there", digest)
			}
		}
		s = reopen(t, s.dir)
		names, err := s.names()
		if err != nil {
			t.Fatal(err)
		}
		var digests []string
		for _, name := range names {
			digests = append(digests, digestPrefix+strings.TrimPrefix(name, finalPrefix))
		}
		requireSound(t, s, digests...)
		if _, err := s.Collect(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// putAndKill runs putForever, kills it after some artifacts, maybe none, and
// returns the digests that it printed.
func putAndKill(t *testing.T, dir string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := child(ctx, t, "put", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var digests []string
	lines := bufio.NewScanner(out)
	for killAfter := rand.IntN(10); lines.Scan(); killAfter-- {
		if strings.HasPrefix(lines.Text(), digestPrefix) {
			digests = append(digests, lines.Text())
		}
		if killAfter == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || ctx.Err() != nil {
		t.Fatalf("the child wasn't killed by the test: %v", err)
	}
	return digests
}
