package account

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	actionForm = regexp.MustCompile(`^[A-Za-z*?]{1,128}$`)
	regionForm = regexp.MustCompile(`^[a-z0-9*?-]{1,64}$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)
)

// parseActions reads actions as a person writes them: "chime:CreateMeeting",
// "createmeeting", "Get*", "*". Each must be or fit one of the operations; the
// error of one that does not lists those that are near. nil, for all, when
// nothing is given or everything is meant.
func parseActions(given, operations []string) (actions []string, err error) {
	for _, one := range given {
		name := one
		if service, rest, ok := strings.Cut(one, ":"); ok && strings.EqualFold(service, "chime") {
			name = rest
		}
		if name == "*" {
			return nil, nil
		}
		at := slices.IndexFunc(operations, func(op string) bool { return strings.EqualFold(op, name) })
		switch {
		case at >= 0:
			name = operations[at]
		case !actionForm.MatchString(name) || !slices.ContainsFunc(operations, func(op string) bool { return matches(name, op) }):
			return nil, fmt.Errorf("%.80q is no action of these APIs, nor does it fit one with its wildcards; %s", one, near(name, operations))
		}
		if !slices.Contains(actions, name) {
			actions = append(actions, name)
		}
	}
	return actions, nil
}

func parseRegions(given []string) (regions []string, err error) {
	for _, one := range given {
		if !regionForm.MatchString(one) {
			return nil, fmt.Errorf("%.80q is no region such as eu-central-1 or eu-*", one)
		}
		if one == "*" {
			return nil, nil
		}
		if !slices.Contains(regions, one) {
			regions = append(regions, one)
		}
	}
	return regions, nil
}

// nearest is how many names an error lists.
const nearest = 4

// near tells the names that a misspelt one may stand for.
func near(name string, names []string) string {
	if len(name) > 128 {
		name = name[:128]
	}
	name = strings.ToLower(strings.Trim(name, "*?"))
	type candidate struct {
		name     string
		distance int
	}
	var list []candidate
	for _, n := range names {
		d := distance(name, strings.ToLower(n))
		if name != "" && strings.Contains(strings.ToLower(n), name) {
			d = min(d, 1)
		}
		if d <= max(3, len(name)/3) {
			list = append(list, candidate{n, d})
		}
	}
	if len(list) == 0 {
		return "there are " + strings.Join(names, ", ")
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return a.distance - b.distance })
	var said []string
	for _, c := range list[:min(len(list), nearest)] {
		said = append(said, c.name)
	}
	return "near it are " + strings.Join(said, ", ")
}

// distance is how many letters must be added, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
