package cli

import (
	"fmt"

	"github.com/segue-deploy/segue/internal/api"
)

// block is what stands on a screen for one step.
type block struct {
	status api.Status
	lines  []string
}

// standing is the index of the step that a deployment stands at: the one that is
// being done, or else the first to come, or the last.
func standing(d api.Deployment) int {
	next := len(d.Steps) - 1
	for i := len(d.Steps) - 1; i >= 0; i-- {
		switch d.Steps[i].Status {
		case api.StepRunning:
			return i
		case api.StepPending:
			next = i
		}
	}
	return next
}

// fold sums up blocks in as few places as makes the rest fit a height, those
// farthest from where the deployment stands first; what failed is always shown.
func fold(blocks []block, at, height int, st liveStyles) []string {
	hidden := make([]bool, len(blocks))
	lines := unfolded(blocks, hidden, st)
	for len(lines) > height {
		farthest := -1
		for i, b := range blocks {
			if hidden[i] || i == at || b.status == api.StepRunning || b.status == api.StepFailed {
				continue
			}
			if farthest < 0 || distance(i, at) > distance(farthest, at) {
				farthest = i
			}
		}
		if farthest < 0 {
			break
		}
		hidden[farthest] = true
		lines = unfolded(blocks, hidden, st)
	}
	return lines
}

func distance(i, j int) int { return max(i-j, j-i) }

// unfolded are the blocks' lines, with one line for hidden ones that follow each
// other and have come equally far.
func unfolded(blocks []block, hidden []bool, st liveStyles) []string {
	var lines []string
	for i := 0; i < len(blocks); {
		end := i
		for end < len(blocks) && hidden[end] && blocks[end].status == blocks[i].status {
			end++
		}
		if end-i > 1 {
			lines = append(lines, summary(blocks[i].status, end-i, st))
			i = end
			continue
		}
		lines = append(lines, blocks[i].lines...)
		i++
	}
	return lines
}

// summary stands for steps that there is no room for.
func summary(status api.Status, n int, st liveStyles) string {
	line := func(mark, what string) string {
		return fmt.Sprintf("  %s %8s  %s %s", mark, "", count(n, "step"), what)
	}
	switch status {
	case api.StepDone:
		return line(st.good.Render("✓"), st.faint.Render("done"))
	case api.StepSkipped:
		return st.faint.Render(line("-", "skipped"))
	}
	return st.faint.Render(line("·", "to come"))
}
