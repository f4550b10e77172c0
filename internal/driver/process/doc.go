// Package process is the driver that runs instances as processes of this machine.
//
// # The story of an instance
//
// [Driver.Ensure] makes an instance: a record on disk, a port or socket, a run
// directory, a log file, a process that leads a session of its own. From then on
// one goroutine owns it, (*instance).supervise: that is the main loop, and it
// fits on a screen. It starts the process, asks after its health, starts it again
// when it exits, gives it up when that happens too often, and stops it when told.
// [Driver.Run] keeps these goroutines; when its context ends, they end and the
// processes live on. [Open] finds them again.
//
// # Never a second copy, never a lost one
//
// The driver can be killed between any two instructions. What holds is this:
//
//   - Before a process is started, its record says so on disk, with a start
//     marker that no other start ever had; the marker is in the environment of
//     the process and of its children.
//   - Each instance has a lock file. The descriptor that holds the lock is
//     inherited by the process, from the very fork on, and by its children, so
//     that the kernel keeps the lock exactly as long as any of them lives.
//     A process is only ever started by the one who holds the lock.
//   - After the start the record gets the pid, the start time by the kernel's
//     clock and the boot's ID. A process counts as the instance only when all three
//     are right, so a recycled pid is never taken for one.
//   - A driver that was killed in between leaves a record with a marker and no
//     pid. The next one takes the lock, and then nothing lives; or it can't, and
//     then it looks for the process that has the marker or the lock.
//
// Signals go through pidfds, each to a process that has been recognised after its
// pidfd was opened. An own child stays unreaped until its whole group has ended,
// which keeps the group's number from being used again.
//
// # Output
//
// Output goes straight into a file, so that no pipe and no copying process can
// break or block it. What is over the limit is freed at the beginning by punching a
// hole: the file's offsets stay, its writers notice nothing. (One who opens
// /dev/stdout anew and truncates it, as a shell does for >/dev/stdout, empties the
// log; >>/dev/stdout and >&1 don't.)
package process
