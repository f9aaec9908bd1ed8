// Command belfry is the server: meetings compatible with the Amazon Chime SDK,
// in one program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/observe"
)

const usage = `usage: belfry <command>

  serve          run the server; belfry serve -h lists its settings
  keys           list, add, disable, rotate or remove access keys
  accounts       show or change what an account may use: requests, meetings, attendees ...
  capacity       show how full the server is, or hold what it leaves out
  events         list the events that could not be delivered, or send them again
  client-events  show what browser clients reported of themselves
  config         print every setting with its default, as a configuration file
  version        print the version
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments. It returns the exit code: 0
// for a clean end, 1 for a failure, 2 for words that were not understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	if args[0] == "serve" {
		return serve(ctx, args[1:], stdout, stderr)
	}
	for _, c := range []command{keys(), accounts(), capacity(), events(), clientEvents()} {
		if c.name == args[0] {
			return c.run(ctx, args[1:], stdout, stderr)
		}
	}
	if len(args) > 1 {
		fmt.Fprintf(stderr, "belfry: %s takes no arguments, got %q\n%s", args[0], args[1], usage)
		return 2
	}
	switch args[0] {
	case "config":
		fmt.Fprint(stdout, config.Sample())
	case "version":
		fmt.Fprintln(stdout, "belfry", version())
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprintf(stderr, "belfry: there is no command %q\n%s", args[0], usage)
		return 2
	}
	return 0
}

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(args, os.Getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 2
	}
	logger := observe.NewLogger(stderr, cfg.LogLevel, cfg.LogFormat)
	for _, name := range config.UnknownEnv(os.Environ()) {
		logger.Warn("an environment variable looks like a setting but is none; belfry serve -h lists them", "variable", name)
	}
	server, err := app.Start(ctx, cfg, logger)
	if err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	server.WriteBanner(stdout)
	if err := server.Wait(ctx); err != nil {
		fmt.Fprintln(stderr, "belfry:", err)
		return 1
	}
	return 0
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Main.Version + " " + s.Value
		}
	}
	return info.Main.Version
}
