package spec

import (
	"strings"
)

// nearest returns the word of list that a person who typed word most likely
// meant, or "" when none is near enough.
func nearest(word string, list []string) string {
	const longest = 64 // of a word that is worth comparing
	if len(word) > longest {
		return ""
	}
	best, least := "", max(1, len(word)/3)+1
	for _, candidate := range list {
		if d := distance(plain(word), plain(candidate)); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// plain takes away differences of spelling that are no typing errors.
func plain(word string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(word))
}

// distance is the number of characters to insert, delete, replace or swap with
// their neighbour to make b of a (optimal string alignment distance).
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	rows := make([][]int, len(from)+1)
	for i := range rows {
		rows[i] = make([]int, len(to)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(from); i++ {
		for j := 1; j <= len(to); j++ {
			cost := 1
			if from[i-1] == to[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(from)][len(to)]
}
