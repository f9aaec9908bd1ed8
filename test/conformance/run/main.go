// Command run takes every AWS client through the life of a meeting and prints
// what came of it as Markdown. Use it by scripts/conformance, which installs the
// clients.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"belfry/internal/app"
	"belfry/internal/config"
	"belfry/internal/meeting"
	"belfry/internal/observe"
	"belfry/test/conformance"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	endpoint := flag.String("endpoint", "", "URL to ask; empty: a server of this tree, started for it")
	only := flag.String("client", "", "names of clients, separated by commas; empty: all ("+strings.Join(conformance.Clients(), ", ")+")")
	write := flag.Bool("write", false, "put the table into docs/conformance.md")
	dir := flag.String("dir", "test/conformance", "directory of the suite")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Takes AWS clients through the life of a meeting. The key for -endpoint is in AWS_ACCESS_KEY_ID,\nAWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the region to sign for in AWS_REGION (us-east-1).")
		flag.PrintDefaults()
	}
	flag.Parse()

	target := conformance.Target{Endpoint: *endpoint, Region: os.Getenv("AWS_REGION"), AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"),
		Secret: os.Getenv("AWS_SECRET_ACCESS_KEY"), Session: os.Getenv("AWS_SESSION_TOKEN")}
	if target.Region == "" {
		target.Region = "us-east-1"
	}
	if target.Endpoint == "" {
		own, done, err := serve(ctx)
		if err != nil {
			return err
		}
		defer done()
		target = own
	} else if target.AccessKeyID == "" || target.Secret == "" {
		return errors.New("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key of the endpoint")
	}
	names := conformance.Clients()
	if *only != "" {
		names = strings.Split(*only, ",")
	}
	results, err := conformance.Run(ctx, *dir, target, names...)
	if err != nil {
		return err
	}
	table := conformance.Table(results)
	fmt.Print(table)
	if *write {
		path := filepath.Join("docs", "conformance.md")
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		document, err := conformance.Update(string(old), table)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(document), 0o644); err != nil {
			return err
		}
	}
	for _, r := range results {
		if len(r.Failures) > 0 {
			return errors.New("not everything passed")
		}
	}
	return nil
}

// serve starts the server of this tree on free ports and with a key of its own.
func serve(ctx context.Context) (target conformance.Target, done func(), err error) {
	dir, err := os.MkdirTemp("", "belfry-conformance-data-")
	if err != nil {
		return target, nil, err
	}
	target = conformance.Target{Region: "us-east-1", AccessKeyID: "AKIDCONFORMANCE", Secret: "conformance/secret+key"}
	cfg := config.Default()
	cfg.Shedding = "off" // nothing is left out because the machine is slow
	cfg.Listen, cfg.TURNListen, cfg.DataDir = "127.0.0.1:0", "127.0.0.1:0", dir
	cfg.AccessKeyID, cfg.SecretAccessKey = target.AccessKeyID, meeting.Secret(target.Secret)
	cfg.RequestRate = 0 // the clients all at once are faster than one account may be
	server, err := app.Start(ctx, cfg, observe.NewLogger(io.Discard, "error", "text"))
	if err != nil {
		return target, nil, errors.Join(err, os.RemoveAll(dir))
	}
	target.Endpoint = server.URL()
	return target, func() { _, _ = server.Close(), os.RemoveAll(dir) }, nil
}
