package deploy

// Actor is who gave a command, from where, and why.
type Actor struct {
	// By is the local user, or the name of a token; "segue" is the engine itself, at
	// a deadline.
	By string `json:"by,omitempty"`
	// From is where the command came from, such as a process of this machine.
	From string `json:"from,omitempty"`
	// Reason is the actor's own, and may be empty.
	Reason string `json:"reason,omitempty"`
}

// itself is the engine as an actor.
func itself(reason string) Actor { return Actor{By: "segue", Reason: reason} }

// did puts what an actor has done in words: "aborted by ann: wrong branch".
func (a Actor) did(verb string) string {
	if a.By != "" {
		verb += " by " + a.By
	}
	if a.Reason != "" {
		verb += ": " + a.Reason
	}
	return verb
}
