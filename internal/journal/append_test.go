package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAppendGivesBackWhatReadReturns(t *testing.T) {
	path := journalPath(t)
	j := open(t, path)
	given := []Record{
		event(1),
		{At: epoch.In(time.FixedZone("CET", 3600)), Service: "wéb \"x\"\n;--", Kind: "k", Data: json.RawMessage(" {\"a\" : [1, null] }\n")},
		{At: epoch, Service: "a\x00b\xff", Kind: "odd bytes", Data: json.RawMessage("\"\xff\\u0000\"")},
		{At: time.Now(), Kind: "no service, no data", Deployment: 1 << 30},
	}
	before := append([]Record(nil), given...)
	added := appendAll(t, j, given...)
	if !reflect.DeepEqual(given, before) {
		t.Error("Append changed its argument")
	}
	for i, r := range added {
		if r.ID != int64(i+1) || !r.At.Equal(given[i].At) || r.At.Location() != time.UTC {
			t.Errorf("got %+v for %+v", r, given[i])
		}
		if r.Kind != given[i].Kind || !bytes.Equal(r.Data, given[i].Data) {
			t.Errorf("got %+v for %+v", r, given[i])
		}
	}
	if recs := readAll(t, j); !reflect.DeepEqual(recs, added) {
		t.Errorf("read %+v\nwant %+v", recs, added)
	}
	closeJournal(t, j)
	if recs := requireSound(t, path); !reflect.DeepEqual(recs, added) {
		t.Errorf("after opening again %+v\nwant %+v", recs, added)
	}
}

func TestAppendRefusesWrongRecords(t *testing.T) {
	j := open(t, journalPath(t))
	good := event(1)
	for name, change := range map[string]func(*Record){
		"time is zero":    func(r *Record) { r.At = time.Time{} },
		"years 1 to 9999": func(r *Record) { r.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"kind is empty":   func(r *Record) { r.Kind = "" },
		"no valid JSON":   func(r *Record) { r.Data = json.RawMessage(`{"half":`) },
	} {
		bad := good
		change(&bad)
		added, err := j.Append(t.Context(), good, bad)
		if err == nil || added != nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "record 2 of 2") {
			t.Errorf("%s: got %v, %v", name, added, err)
		}
	}
	if recs := readAll(t, j); len(recs) != 0 {
		t.Errorf("half of a refused call is there: %+v", recs)
	}
}

func TestAppendOfNothing(t *testing.T) {
	j := open(t, journalPath(t))
	if added, err := j.Append(t.Context()); added != nil || err != nil {
		t.Fatalf("got %v, %v", added, err)
	}
}

func TestAppendObeysItsContextBeforeTheWrite(t *testing.T) {
	path := journalPath(t)
	j := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(ctx, event(1)); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	appendAll(t, j, event(2))
	closeJournal(t, j)
	if recs := requireSound(t, path); len(recs) != 1 {
		t.Fatalf("got %+v", recs)
	}
}

// A caller that goes away at any moment gets either its records or an error and
// nothing of them.
func TestAppendLeavesNoOutcomeOpen(t *testing.T) {
	path := journalPath(t)
	j := open(t, path)
	acked := map[int64]bool{}
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		added, err := j.Append(ctx, event(1), event(2))
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		for _, r := range added {
			acked[r.ID] = true
		}
	}
	closeJournal(t, j)
	recs := requireSound(t, path)
	if len(recs) != len(acked) {
		t.Fatalf("%d records are there, %d were acknowledged", len(recs), len(acked))
	}
}

func TestAppendWhileOthersAppendAndRead(t *testing.T) {
	const writers, each, readers = 4, 10, 3
	path := journalPath(t)
	j := open(t, path)
	var writing, reading sync.WaitGroup
	stop := make(chan struct{})
	for range readers {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				recs, err := j.Read(t.Context(), Filter{})
				if err != nil {
					t.Error(err)
					return
				}
				if len(recs)%2 != 0 {
					t.Errorf("a view of %d records has half of a call", len(recs))
				}
			}
		})
	}
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				added, err := j.Append(t.Context(), event(w), event(n))
				if err != nil {
					t.Error(err)
					return
				}
				if added[1].ID != added[0].ID+1 {
					t.Errorf("a call's records are apart: %d, %d", added[0].ID, added[1].ID)
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	closeJournal(t, j)
	if recs := requireSound(t, path); len(recs) != 2*writers*each {
		t.Fatalf("%d records", len(recs))
	}
}

// A commit is durable only with the log synced; the setting is per connection
// and easily lost.
func TestWriterSyncsAtEveryCommit(t *testing.T) {
	j := open(t, journalPath(t))
	var synchronous int
	if err := j.writer.QueryRow(`PRAGMA synchronous`).Scan(&synchronous); err != nil {
		t.Fatal(err)
	}
	const full = 2
	if synchronous != full {
		t.Fatalf("synchronous is %d, want FULL (%d)", synchronous, full)
	}
	var mode string
	if err := j.writer.QueryRow(`PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
		t.Fatalf("journal mode is %q, %v", mode, err)
	}
}
