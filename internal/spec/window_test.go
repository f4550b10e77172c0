package spec

import (
	"reflect"
	"testing"
	"time"
)

// at returns a time as a clock in a zone shows it, or the one after it where the
// clock shows it twice and later is true.
func at(t *testing.T, zone, clock string, later bool) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation("2006-01-02 15:04", clock, location)
	if err != nil {
		t.Fatal(err)
	}
	if later {
		when = when.Add(time.Hour)
	}
	return when
}

// 2026-01-05 is a Monday. In Berlin clocks are put forward from 02:00 to 03:00 on
// 2026-03-29, and back from 03:00 to 02:00 on 2026-10-25.
func TestFrozen(t *testing.T) {
	friday := Window{Days: []string{"fri"}, From: "16:00", To: "24:00", Zone: "UTC"}
	weekend := Window{Days: []string{"sat", "sun"}, From: "00:00", To: "24:00", Zone: "UTC"}
	night := Window{From: "22:00", To: "06:00", Zone: "Europe/Berlin"}
	early := Window{From: "02:15", To: "02:45", Zone: "Europe/Berlin"}
	for _, c := range []struct {
		name       string
		windows    []Window
		zone, when string
		// until is empty when deploys aren't refused.
		until string
	}{
		{"none", nil, "UTC", "2026-01-09 17:00", ""},
		{"before", []Window{friday}, "UTC", "2026-01-09 15:59", ""},
		{"at the beginning", []Window{friday}, "UTC", "2026-01-09 16:00", "2026-01-10 00:00"},
		{"at the end", []Window{friday}, "UTC", "2026-01-10 00:00", ""},
		{"another day", []Window{friday}, "UTC", "2026-01-08 17:00", ""},
		{"the day of another zone", []Window{friday}, "Asia/Tokyo", "2026-01-10 02:00", "2026-01-10 09:00"},
		{"one after the other", []Window{weekend, friday}, "UTC", "2026-01-09 17:00", "2026-01-12 00:00"},
		{"the second day of one", []Window{weekend}, "UTC", "2026-01-11 12:00", "2026-01-12 00:00"},
		{"over midnight, before", []Window{night}, "Europe/Berlin", "2026-01-09 23:00", "2026-01-10 06:00"},
		{"over midnight, after", []Window{night}, "Europe/Berlin", "2026-01-09 05:59", "2026-01-09 06:00"},
		{"not at noon", []Window{night}, "Europe/Berlin", "2026-01-09 12:00", ""},
		{"over midnight from a day", []Window{{Days: []string{"mon"}, From: "22:00", To: "06:00", Zone: "UTC"}}, "UTC", "2026-01-06 05:00", "2026-01-06 06:00"},
		{"not on the day before it", []Window{{Days: []string{"tue"}, From: "22:00", To: "06:00", Zone: "UTC"}}, "UTC", "2026-01-06 05:00", ""},
		{"a whole day", []Window{{Days: []string{"mon"}, From: "08:00", To: "08:00", Zone: "UTC"}}, "UTC", "2026-01-06 07:59", "2026-01-06 08:00"},
		{"over the end of a year", []Window{{From: "22:00", To: "06:00", Zone: "UTC"}}, "UTC", "2026-01-01 01:00", "2026-01-01 06:00"},
		{"a short night", []Window{night}, "Europe/Berlin", "2026-03-28 23:00", "2026-03-29 06:00"},
		{"a time that is left out", []Window{early}, "Europe/Berlin", "2026-03-29 03:15", "2026-03-29 03:45"},
		{"unknown zone", []Window{{From: "00:00", To: "24:00", Zone: "Nowhere/City"}}, "UTC", "2026-01-09 17:00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := at(t, c.zone, c.when, false)
			until, frozen := (&Spec{Freeze: c.windows}).Frozen(now)
			want := now
			if c.until != "" {
				want = at(t, c.zone, c.until, false)
			}
			if frozen != (c.until != "") || !until.Equal(want) {
				t.Errorf("frozen is %t, until %s; want until %s", frozen, until, want)
			}
		})
	}
}

// TestFrozenWhenClocksArePutBack: from the first time that the clock shows the
// beginning to the last that it shows the end.
func TestFrozenWhenClocksArePutBack(t *testing.T) {
	const zone = "Europe/Berlin"
	s := &Spec{Freeze: []Window{{From: "02:15", To: "02:45", Zone: zone}}}
	first := at(t, zone, "2026-10-25 01:00", true)
	end := first.Add(time.Hour + 45*time.Minute)
	for minutes, want := range map[time.Duration]bool{14: false, 15: true, 44: true, 50: true, 75: true, 104: true, 105: false} {
		now := first.Add(minutes * time.Minute)
		until, frozen := s.Frozen(now)
		if frozen != want || frozen && !until.Equal(end) {
			t.Errorf("%s: frozen is %t, until %s", now, frozen, until)
		}
	}
}

func TestFrozenForEver(t *testing.T) {
	now := at(t, "UTC", "2026-01-09 17:00", false)
	until, frozen := (&Spec{Freeze: []Window{{From: "00:00", To: "24:00", Zone: "UTC"}}}).Frozen(now)
	if weeks := until.Sub(now) / (7 * 24 * time.Hour); !frozen || weeks < 4 || weeks > 5 {
		t.Errorf("frozen is %t, until %s", frozen, until)
	}
}

func TestWindows(t *testing.T) {
	s := mustParse(t, minimal+`
freeze:
  - {days: [Fri, SAT], from: 16:00, to: 24:00, zone: Europe/Berlin}
  - {days: [], from: 00:00, to: 08:00}
`)
	want := []Window{{Days: []string{"fri", "sat"}, From: "16:00", To: "24:00", Zone: "Europe/Berlin"}, {From: "00:00", To: "08:00"}}
	if !reflect.DeepEqual(s.Freeze, want) {
		t.Errorf("got %+v, want %+v", s.Freeze, want)
	}
}

func TestBadWindows(t *testing.T) {
	w := func(window string) string {
		return minimal + "freeze:\n  - {from: 01:00, to: 02:00}\n  - " + window + " #!\n"
	}
	runBadCases(t, []badCase{
		{"nothing", w(""), "freeze[1].from", "is missing", "16:00"},
		{"no end", w("{from: 16:00}"), "freeze[1].to", "is missing", "16:00"},
		{"day", w("{days: [friday], from: 16:00, to: 18:00}"), "freeze[1].days[0]", `not a day: "friday"`, "mon, tue, wed"},
		{"day twice", w("{days: [fri, sat, FRI], from: 16:00, to: 18:00}"), "freeze[1].days[2]", "given twice", "remove"},
		{"one day", w("{days: fri, from: 16:00, to: 18:00}"), "freeze[1].days", "must be a list", "[fri]"},
		{"hour", w("{from: 25:00, to: 18:00}"), "freeze[1].from", "not a time of day", "16:30"},
		{"short", w("{from: 8:00, to: 18:00}"), "freeze[1].from", "not a time of day", "08:00"},
		{"seconds", w("{from: 08:00, to: 18:00:00}"), "freeze[1].to", "not a time of day", ""},
		{"number", w("{from: 16, to: 18:00}"), "freeze[1].from", "not a time of day", ""},
		{"begins at the end", w("{from: 24:00, to: 06:00}"), "freeze[1].from", "before 24:00", "00:00"},
		{"zone", w("{from: 16:00, to: 18:00, zone: CEST}"), "freeze[1].zone", "not a time zone", "Europe/Berlin"},
		{"mapping", minimal + "freeze: {from: 16:00, to: 18:00} #!\n", "freeze", "must be a list", ""},
	})
}
