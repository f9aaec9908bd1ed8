package config

import (
	"fmt"
	"strings"
)

// Sample writes belfry.sample.yml: every setting, its default and what it is
// for. A test holds the committed file against it.
func Sample() string {
	c := Default()
	var b strings.Builder
	b.WriteString("# Every setting of Belfry with its default. Use it with `belfry serve --config FILE`.\n" +
		"# Each can also be given as a flag or an environment variable; a flag wins over the\n" +
		"# environment, the environment over this file. An unknown key is an error.\n")
	for _, s := range settings(&c) {
		text := s.text()
		switch {
		case text == "":
			text = `""`
		case s.value.Kind().String() == "string":
			text = fmt.Sprintf("%q", text)
		}
		fmt.Fprintf(&b, "\n# %s%s\n# --%s, %s\n%s: %s\n", strings.ToUpper(s.help[:1]), s.help[1:], s.flag(), s.env(), s.key, text)
	}
	return b.String()
}
