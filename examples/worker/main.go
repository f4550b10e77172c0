// Command worker is a service to deploy with Segue that takes no requests: it does
// the jobs of a queue, which is a directory QUEUE_DIR that outlives every release.
//
//	new/JOB               a job that nobody has begun
//	busy/INSTANCE-JOB     one that the instance is on, or was on when it died
//	done/JOB              its result: JSON with the job, release and instance
//
// Jobs are begun in the order of their names. The text of a job is how long it
// takes, as in 200ms; an empty one takes 100 ms. Who puts a job there writes it
// elsewhere and renames it to new/, so that none is taken half-written. Each job is
// done at most once: one whose instance dies stays in busy/, for a person to look
// at.
//
// It knows itself by SEGUE_RELEASE and SEGUE_INSTANCE, and says READY=1 on the
// socket NOTIFY_SOCKET, as sd_notify(3) does; Segue sets all three.
// WORKER_BEHAVIOUR is how it goes wrong: see [behaviours].
//
// SIGTERM, SIGUSR1 and SIGINT stop it: it finishes the job that it is on, begins no
// more, and exits with code 0.
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
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func start() error {
	c, err := configFrom(os.Getenv)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGINT)
	defer cancel()
	return c.run(ctx, slog.New(slog.NewTextHandler(os.Stdout, nil)))
}
