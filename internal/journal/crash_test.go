package journal

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// call is what appendForever puts into each record of one call of Append.
type call struct {
	Process int    `json:"process"`
	Number  int    `json:"number"`
	Size    int    `json:"size"`
	Padding string `json:"padding"`
}

// appendForever prints 0, appends until it is killed, and prints the last ID of
// each call that was acknowledged.
func appendForever(path string) {
	fmt.Println(0)
	ctx := context.Background()
	j, err := Open(ctx, path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for number := 1; ; number++ {
		size := 1 + rand.IntN(5)
		data, err := json.Marshal(call{os.Getpid(), number, size, strings.Repeat("x", rand.IntN(4_000))})
		if err != nil {
			panic(err)
		}
		recs := make([]Record, size)
		for i := range recs {
			recs[i] = event(number)
			recs[i].Data = data
		}
		added, err := j.Append(ctx, recs...)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(added[size-1].ID)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	const kills = 20
	path := journalPath(t)
	before := 0
	for range kills {
		acked := appendAndKill(t, path)
		recs := requireSound(t, path)
		if int64(len(recs)) < acked || len(recs) < before {
			t.Fatalf("%d records are there, %d were acknowledged, %d were there before", len(recs), acked, before)
		}
		requireWholeCalls(t, recs)
		before = len(recs)
	}
	t.Logf("%d records survived %d kills", before, kills)
}

// appendAndKill runs appendForever, kills it after some acknowledgements, maybe
// none and in the midst of Open, and returns the last ID that was acknowledged.
func appendAndKill(t *testing.T, path string) (acked int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := child(ctx, t, "append", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acks := bufio.NewScanner(out)
	for killAfter := max(0, rand.IntN(60)-10); acks.Scan(); killAfter-- {
		if acked, err = strconv.ParseInt(acks.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
		if killAfter != 0 {
			continue
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// The loop goes on: what it prints before it is dead counts too.
	}
	if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || ctx.Err() != nil {
		t.Fatalf("the child wasn't killed by the test: %v", err)
	}
	return acked
}

func requireWholeCalls(t *testing.T, recs []Record) {
	t.Helper()
	for i := 0; i < len(recs); {
		var first call
		if err := json.Unmarshal(recs[i].Data, &first); err != nil {
			t.Fatal(err)
		}
		if i+first.Size > len(recs) {
			t.Fatalf("the last call has %d records of %d", len(recs)-i, first.Size)
		}
		for _, r := range recs[i : i+first.Size] {
			if string(r.Data) != string(recs[i].Data) {
				t.Fatalf("record %d stands amid call %d of process %d", r.ID, first.Number, first.Process)
			}
		}
		i += first.Size
	}
}
