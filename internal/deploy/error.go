package deploy

// Problem is what kind of error a command ended with. One place maps it to an
// HTTP status, another to an exit code.
type Problem string

// The problems.
const (
	// ProblemInvalid: the request itself is wrong.
	ProblemInvalid Problem = "invalid"
	// ProblemNotFound: what it names is not there.
	ProblemNotFound Problem = "not-found"
	// ProblemConflict: not possible in the state that things are in.
	ProblemConflict Problem = "conflict"
	// ProblemFull: the disk has no room for the journal.
	ProblemFull Problem = "full"
)

// Error is a command's refusal, for the person who gave the command.
type Error struct {
	Problem Problem
	// Message says what is wrong and names the thing, Hint what to do.
	Message string
	Hint    string
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}
