package retain

import (
	"fmt"
	"strings"

	"github.com/tidemark-backup/tidemark/repo/vault/ledger"
)

// lost tells in words what a vault that went back in time lacks.
func lost(back *ledger.RollbackError) string {
	const named = 10
	var points []string
	n := 0
	for _, e := range back.Lost {
		for _, r := range e.Records {
			if r, ok := r.(ledger.Receipt); ok {
				if n++; n <= named {
					points = append(points, fmt.Sprintf("%s of %s", r.Point.Short(), stamp(r.Arrival)))
				}
			}
		}
	}
	first, last := back.Lost[0], back.Lost[len(back.Lost)-1]
	text := fmt.Sprintf("the vault lacks %d entries of its ledger, of %s to %s", len(back.Lost), stamp(first.Time), stamp(last.Time))
	if len(back.Lost) == 1 {
		text = fmt.Sprintf("the vault lacks the last entry of its ledger, of %s", stamp(first.Time))
	}
	switch {
	case n == 0:
		return text + "; no new points are named there"
	case n > named:
		points = append(points, fmt.Sprintf("and %d more", n-named))
	}
	return text + "; of points: " + strings.Join(points, ", ")
}
