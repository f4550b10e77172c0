// Command ledger is a service to deploy with Segue that must never run twice: its
// entries are in an SQLite database of its own, and only one process may have it.
//
// It listens on PORT (at HOST, 127.0.0.1 without one) and knows itself by
// SEGUE_RELEASE and SEGUE_INSTANCE, all of which Segue sets. DATA_DIR is where the
// database is: a directory that outlives every release. LEDGER_BEHAVIOUR is how it
// goes wrong: see [behaviours].
//
// Every answer carries X-Release and X-Instance, and gives back the request's
// X-Load-Id:
//
//	POST /entries            {"id": "a", "amount": 7}: inserts an entry
//	GET  /entries/{id}       one entry
//	GET  /entries?after=12   those of later rows, in their order, at most 1000
//	GET  /healthz            200 when ready
//
// An insert is answered with 201 and its row number, once the entry is on the
// disk, and with 409 if there is an entry of that id already.
//
// At its start it locks the file ledger.lock beside the database; if another
// process has it, it says so and exits with code 1. SIGTERM and SIGINT stop it: it
// accepts no more, finishes the requests in flight within 10 s, closes the
// database, lets go of the lock, and exits with code 0.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func start() error {
	c, err := configFrom(os.Getenv)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	return c.run(ctx, slog.New(slog.NewTextHandler(os.Stdout, nil)))
}
