package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Audit holds what the clients were told of their writes against what the service
// has. Each write is counted once:
//
//	Writes = Answered + Refused + Repeated + Unanswered + Unsent
type Audit struct {
	Writes uint64 `json:"writes"`
	// Answered had a 2xx.
	Answered uint64 `json:"answered"`
	// Refused had another answer; FoundRefused of them are there all the same, as
	// after an error that a proxy made in the service's place.
	Refused      uint64 `json:"refused"`
	FoundRefused uint64 `json:"found_refused"`
	// Repeated were answered 409, though no client writes an entry twice: somebody
	// between the two did.
	Repeated uint64 `json:"repeated"`
	// Unanswered had no whole answer and may be there or not; FoundUnanswered of
	// them are.
	Unanswered      uint64 `json:"unanswered"`
	FoundUnanswered uint64 `json:"found_unanswered"`
	// Unsent never had a connection.
	Unsent uint64 `json:"unsent"`

	// Lost counts answered writes that are not there, Duplicated entries that are
	// there more than once, Altered those that are not there as they were written:
	// another amount, or another row than was answered. Invented counts entries
	// that are there though they were unsent, or no write of this load.
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Altered    uint64 `json:"altered"`
	Invented   uint64 `json:"invented"`

	// Longest is the longest that an answered write took.
	Longest time.Duration `json:"longest"`
	// Faults describes the first of what is wrong.
	Faults []string `json:"faults,omitempty"`
}

// Good says that every answered write is there exactly once, as it was written, and
// nothing was written twice or by nobody. Writes without an answer don't count
// against it: they are the [prove.Report]'s to tell.
func (a Audit) Good() bool {
	return a.Lost+a.Duplicated+a.Altered+a.Invented+a.Repeated == 0
}

// String is several lines for a person.
func (a Audit) String() string {
	s := fmt.Sprintf("%d writes: %d answered (at most after %s), %d refused (%d there), %d unanswered (%d there), %d unsent\n",
		a.Writes, a.Answered, a.Longest.Round(time.Microsecond), a.Refused, a.FoundRefused, a.Unanswered, a.FoundUnanswered, a.Unsent)
	for _, fault := range a.Faults {
		s += "  " + fault + "\n"
	}
	return s + fmt.Sprintf("%d lost, %d duplicated, %d altered, %d invented, %d sent twice", a.Lost, a.Duplicated, a.Altered, a.Invented, a.Repeated)
}

const (
	// maxFaults is how many faults are described.
	maxFaults = 20
	// readTimeout is how long a page of the list may take.
	readTimeout = 90 * time.Second
)

// Audit reads all entries back from the service at an address, "host:port", and
// compares. It is for the time after the load; entries of other loads are left out. An
// error means that they could not be read, or that the list is not in the order of its
// rows.
func (l *Ledger) Audit(ctx context.Context, address string) (Audit, error) {
	l.writes.mu.Lock()
	defer l.writes.mu.Unlock()
	there, err := readBack(ctx, address)
	if err != nil {
		return Audit{}, fmt.Errorf("read the entries back: %w", err)
	}
	return audit(l.writes.all, l.writes.ofThisLoad(there), maxFaults), nil
}

// ofThisLoad leaves out the entries of other loads, whose IDs begin otherwise.
func (w *writes) ofThisLoad(there []entry) []entry {
	if len(w.all) == 0 {
		return nil
	}
	load, _, _ := strings.Cut(w.all[0].ID, "-")
	return slices.DeleteFunc(there, func(e entry) bool { return !strings.HasPrefix(e.ID, load+"-") })
}

// auditing is an audit under way.
type auditing struct {
	Audit
	maxFaults int
}

// fault counts one in n and describes it, if there is room.
func (a *auditing) fault(n *uint64, format string, args ...any) {
	*n++
	if len(a.Faults) < a.maxFaults {
		a.Faults = append(a.Faults, fmt.Sprintf(format, args...))
	}
}

// audit compares what was written with the entries that are there.
func audit(all []write, there []entry, maxFaults int) Audit {
	a := &auditing{maxFaults: maxFaults}
	found := map[string][]entry{}
	for _, e := range there {
		found[e.ID] = append(found[e.ID], e)
	}
	for _, w := range all {
		a.count(w, len(found[w.ID]))
		a.compare(w, found[w.ID])
		delete(found, w.ID)
	}
	for _, e := range there {
		if found[e.ID] != nil {
			a.fault(&a.Invented, "invented: row %d is %s, which nobody wrote", e.Row, e.ID)
		}
	}
	return a.Audit
}

// count counts a write that is there n times by its fate.
func (a *auditing) count(w write, n int) {
	is := uint64(min(n, 1))
	a.Writes++
	switch w.fate {
	case answered:
		a.Answered++
		a.Longest = max(a.Longest, w.took)
	case refused:
		a.Refused++
		a.FoundRefused += is
	case repeated:
		a.fault(&a.Repeated, "sent twice: %s was there already when it was written", w.ID)
	case unanswered:
		a.Unanswered++
		a.FoundUnanswered += is
	case unsent:
		a.Unsent++
	}
}

// compare says what is wrong with the entries that are there of a write.
func (a *auditing) compare(w write, there []entry) {
	switch {
	case len(there) == 0 && w.fate == answered:
		a.fault(&a.Lost, "lost: %s was answered with row %d and is not there", w.ID, w.Row)
	case len(there) > 0 && w.fate == unsent:
		a.fault(&a.Invented, "invented: %s is there in row %d, but was never sent", w.ID, there[0].Row)
	case len(there) > 1:
		a.fault(&a.Duplicated, "duplicated: %s is there %d times, first in row %d", w.ID, len(there), there[0].Row)
	}
	for _, e := range there {
		if e.Amount != w.Amount || w.Row != 0 && e.Row != w.Row && len(there) == 1 {
			a.fault(&a.Altered, "altered: %s is row %d with amount %d, but row %d (0 is not known) with %d was written", w.ID, e.Row, e.Amount, w.Row, w.Amount)
		}
	}
}

// readBack reads all entries, a page at a time, each on a connection of its own: a page
// that can't be read is an error rather than asked for again.
func readBack(ctx context.Context, address string) ([]entry, error) {
	client := &http.Client{Timeout: readTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	var all []entry
	for after := int64(0); ; {
		page, err := readPage(ctx, client, address, after)
		if err != nil {
			return nil, fmt.Errorf("after row %d: %w", after, err)
		}
		if len(page) == 0 {
			return all, nil
		}
		for _, e := range page {
			if e.Row <= after {
				return nil, fmt.Errorf("row %d comes after row %d", e.Row, after)
			}
			after = e.Row
			all = append(all, e)
		}
	}
}

func readPage(ctx context.Context, client *http.Client, address string, after int64) ([]entry, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/entries?after=%d", address, after), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
	}
	var list struct {
		Entries *[]entry `json:"entries"`
	}
	if err := json.Unmarshal(body, &list); err != nil || list.Entries == nil {
		return nil, fmt.Errorf("the body is not a list of entries: %.200s", body)
	}
	return *list.Entries, nil
}
