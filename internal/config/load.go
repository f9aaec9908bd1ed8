package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"belfry/internal/meeting"
)

// setting is one field of a Config, found by its tag.
type setting struct {
	key, help string
	value     reflect.Value
}

// Env is the environment variable of the setting.
func (s setting) env() string { return "BELFRY_" + strings.ToUpper(s.key) }

// flag is the name of the setting's flag, without the dashes before it.
func (s setting) flag() string { return strings.ReplaceAll(s.key, "_", "-") }

// settings lists the fields of c in their order.
func settings(c *Config) []setting {
	v := reflect.ValueOf(c).Elem()
	list := make([]setting, 0, v.NumField())
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		list = append(list, setting{key: tag.Get("key"), help: tag.Get("help"), value: v.Field(i)})
	}
	return list
}

// set gives the setting a value written as text.
func (s setting) set(text string) error {
	switch field := s.value.Addr().Interface().(type) {
	case *string:
		*field = text
	case *meeting.Secret:
		*field = meeting.Secret(text)
	case *[]string:
		*field = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*field = append(*field, item)
			}
		}
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*field = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 30s or 15m", text)
		}
		*field = d
	default:
		panic("config: no way to set a " + s.value.Type().String())
	}
	return nil
}

// text is the setting's value as a person would write it.
func (s setting) text() string {
	switch field := s.value.Interface().(type) {
	case meeting.Secret:
		return field.Reveal()
	case []string:
		return strings.Join(field, ",")
	case time.Duration:
		return field.String()
	default:
		return fmt.Sprint(field)
	}
}

// Load makes the configuration from the arguments after the subcommand and the
// environment. --config FILE (or BELFRY_CONFIG) names a file to read. Usage
// goes to usage when -h is asked for; the error is then flag.ErrHelp.
func Load(args []string, getenv func(string) string, usage io.Writer) (Config, error) {
	c := Default()
	all := settings(&c)

	flags := flag.NewFlagSet("belfry serve", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("config", getenv("BELFRY_CONFIG"), "")
	given := map[string]string{}
	for _, s := range all {
		flags.Func(s.flag(), s.help, func(text string) error { given[s.key] = text; return nil })
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			writeUsage(usage, all)
			return c, err
		}
		return c, fmt.Errorf("%w; `belfry serve -h` lists the flags", err)
	}
	if extra := flags.Args(); len(extra) > 0 {
		return c, fmt.Errorf("argument %q was not understood; `belfry serve -h` lists the flags", extra[0])
	}

	if *file != "" {
		if err := readFile(*file, all); err != nil {
			return c, err
		}
	}
	for _, s := range all {
		if text := getenv(s.env()); text != "" {
			if err := s.set(text); err != nil {
				return c, fmt.Errorf("%s: %w", s.env(), err)
			}
		}
		if text, ok := given[s.key]; ok {
			if err := s.set(text); err != nil {
				return c, fmt.Errorf("--%s: %w", s.flag(), err)
			}
		}
	}
	if c.DataDir == "" {
		dir, err := defaultDataDir(getenv)
		if err != nil {
			return c, err
		}
		c.DataDir = dir
	}
	return c, c.Validate()
}

// UnknownEnv lists the variables in environ that look like settings and are
// none: misspelt ones would otherwise be ignored in silence.
func UnknownEnv(environ []string) []string {
	known := map[string]bool{"BELFRY_CONFIG": true}
	for _, s := range settings(&Config{}) {
		known[s.env()] = true
	}
	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "BELFRY_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// readFile overlays a configuration file. Errors carry the line.
func readFile(path string, all []setting) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var content map[string]written
	if err := yaml.Unmarshal(data, &content); err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, false))
	}
	for _, s := range all {
		value, ok := content[s.key]
		delete(content, s.key)
		if value.wrong != "" {
			return fmt.Errorf("%s: %s: expected one value or a list of values, got %s", path, s.key, value.wrong)
		}
		if _, takesList := s.value.Interface().([]string); value.list && !takesList {
			return fmt.Errorf("%s: %s: expected one value, got a list", path, s.key)
		}
		if !ok || len(value.items) == 0 && !value.list { // null is as if it were not there
			continue
		}
		if err := s.set(strings.Join(value.items, ",")); err != nil {
			return fmt.Errorf("%s: %s: %w", path, s.key, err)
		}
	}
	for key := range content {
		return fmt.Errorf("%s: %q is not a setting; belfry.sample.yml lists them", path, key)
	}
	return nil
}

// written is a value of the file as it stands there. YAML would make a number of
// what looks like one: an account or a key with a leading zero would change.
type written struct {
	items []string // one, or those of a list; none for null
	list  bool
	wrong string // what stands there instead of a value
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (w *written) UnmarshalYAML(node ast.Node) error {
	switch n := node.(type) {
	case *ast.NullNode:
	case *ast.SequenceNode:
		w.list = true
		for _, value := range n.Values {
			w.add(value)
		}
	default:
		w.add(n)
	}
	return nil
}

func (w *written) add(node ast.Node) {
	switch n := node.(type) {
	case *ast.StringNode:
		w.items = append(w.items, n.Value)
	case *ast.LiteralNode:
		w.items = append(w.items, n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		w.items = append(w.items, n.GetToken().Value)
	default:
		w.wrong = "a " + strings.ToLower(node.Type().YAMLName())
	}
}

func defaultDataDir(getenv func(string) string) (string, error) {
	if base := getenv("XDG_DATA_HOME"); base != "" {
		return filepath.Join(base, "belfry"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "belfry"), nil
	}
	return "", errors.New("there is no home directory to keep state in; set BELFRY_DATA_DIR")
}

func writeUsage(w io.Writer, all []setting) {
	fmt.Fprint(w, "usage: belfry serve [--config FILE] [flags]\n\n")
	for _, s := range all {
		def := s.text()
		if def == "" {
			def = "none"
		}
		fmt.Fprintf(w, "  --%s  (%s, default %s)\n        %s\n", s.flag(), s.env(), def, s.help)
	}
}
