package conformance

import (
	"fmt"
	"strings"
)

// Refusals are those whose names differ from client to client; Result.Caught
// has what each client makes of them.
var Refusals = []string{"an ended meeting", "one attendee too many", "an unknown region", "a broken constraint"}

// Table is the Markdown of the results: the clients, the operations, and the
// errors that a program catches.
func Table(results []Result) string {
	var b strings.Builder
	b.WriteString("| No. | Client | API | Version |\n| ---: | --- | --- | --- |\n")
	for i, r := range results {
		k, _ := kindOf(r.Client)
		version := r.Version
		if k.debian {
			version += " (Debian)"
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s |\n", i+1, k.pkg, r.API, version)
	}

	b.WriteString("\n| Operation |")
	for i := range results {
		fmt.Fprintf(&b, " %d |", i+1)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" :-: |", len(results)) + "\n")
	for _, name := range operations {
		b.WriteString("| " + name + " |")
		for _, r := range results {
			b.WriteString(" " + [...]string{Absent: "·", Passed: "✓", Failed: "✗"}[r.Operations[name]] + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n✓ passed, ✗ failed, · not in this client.\n")

	b.WriteString("\n| What a program catches | " + strings.Join(Refusals, " | ") + " |\n| ---: |" + strings.Repeat(" --- |", len(Refusals)) + "\n")
	for i, r := range results {
		fmt.Fprintf(&b, "| %d |", i+1)
		for _, name := range Refusals {
			b.WriteString(" " + r.Caught[name] + " |")
		}
		b.WriteString("\n")
	}

	var failures []string
	for _, r := range results {
		for _, f := range r.Failures {
			failures = append(failures, "- "+r.Client+": "+strings.Join(strings.Fields(f), " ")+"\n")
		}
	}
	if len(failures) > 0 {
		b.WriteString("\nWhat failed:\n\n" + strings.Join(failures, ""))
	}
	return b.String()
}

// Marks around the generated part of the document.
const (
	begin = "<!-- made by scripts/conformance -->\n"
	end   = "<!-- end of what scripts/conformance made -->\n"
)

// Update puts the table into the document, between its marks.
func Update(document, table string) (string, error) {
	before, rest, found := strings.Cut(document, begin)
	_, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		return "", fmt.Errorf("the document lacks the marks %q and %q", begin, end)
	}
	return before + begin + "\n" + table + "\n" + end + after, nil
}
