package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	keyID     = "AKIDRATES"
	keySecret = "rates-secret"
	region    = "us-east-1"
)

// caller makes signed requests. An SDK would use more of the machine than the
// server does.
type caller struct {
	url    string
	http   *http.Client
	signer *v4.Signer
}

func newCaller(url string, clients int) *caller {
	return &caller{url: url, signer: v4.NewSigner(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients + 8, MaxConnsPerHost: clients + 8}}}
}

// call does one request and decodes the answer into out, which may be nil.
func (c *caller) call(ctx context.Context, method, path, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	sum := sha256.Sum256([]byte(body))
	err = c.signer.SignHTTP(ctx, aws.Credentials{AccessKeyID: keyID, SecretAccessKey: keySecret}, req, hex.EncodeToString(sum[:]), "chime", region, time.Now())
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %.200s", method, path, res.Status, bytes.TrimSpace(text))
	}
	if out != nil {
		return json.Unmarshal(text, out)
	}
	return nil
}

// figures is what the server counts of itself.
type figures struct{ cpu, memory, changes, appends, snapshots, paused float64 }

func (c *caller) figures(ctx context.Context) (f figures, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/metrics", nil)
	if err != nil {
		return f, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return f, err
	}
	defer res.Body.Close()
	into := map[string]*float64{"process_cpu_seconds_total": &f.cpu, "process_resident_memory_bytes": &f.memory, "belfry_store_changes_total": &f.changes,
		"belfry_store_appends_total": &f.appends, "belfry_store_snapshots_total": &f.snapshots, "belfry_store_paused_seconds_total": &f.paused}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := into[name]; to != nil {
			if *to, err = strconv.ParseFloat(value, 64); err != nil {
				return f, fmt.Errorf("the metric %s: %w", name, err)
			}
			delete(into, name)
		}
	}
	for name := range into {
		return f, fmt.Errorf("there is no metric %s", name)
	}
	return f, nil
}

// counted is where an operation may say that its time began later.
type counted struct{ begun time.Time }

type countedKey struct{}

func countFrom(ctx context.Context, begun time.Time) {
	if c, ok := ctx.Value(countedKey{}).(*counted); ok {
		c.begun = begun
	}
}

// times has clients do an operation for a while and answers how long each took.
func (b *bench) times(ctx context.Context, clients int, op func(context.Context, *rand.Rand) error) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	deadline := time.Now().Add(b.each)
	var wg sync.WaitGroup
	for i := range clients {
		random := rand.New(rand.NewPCG(uint64(i), uint64(b.next.Load())))
		wg.Go(func() {
			c := &counted{}
			ctx := context.WithValue(ctx, countedKey{}, c)
			var mine []time.Duration
			var err error
			for err == nil && time.Now().Before(deadline) {
				c.begun = time.Now()
				if err = op(ctx, random); err == nil {
					mine = append(mine, time.Since(c.begun))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, mine...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all, failed
}

func (b *bench) measure(ctx context.Context, name string, clients int, op func(context.Context, *rand.Rand) error) error {
	syncs, err := singleSyncs(b.dir, b.each/3)
	if err != nil {
		return err
	}
	before, err := b.c.figures(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	all, err := b.times(ctx, clients, op)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	took := time.Since(begun).Seconds()
	after, err := b.c.figures(ctx)
	if err != nil {
		return err
	}
	n := float64(len(all))
	appends, ratio := "none", ""
	if after.appends > before.appends {
		appends = fmt.Sprintf("%.1f", (after.changes-before.changes)/(after.appends-before.appends))
		ratio = fmt.Sprintf("%.2f", (after.changes-before.changes)/took/syncs)
	}
	b.row(name, clients, n/took, all, (after.cpu-before.cpu)*1e3/n, appends, ratio)
	return nil
}

// meanwhile measures an operation beside one client that makes batches all the
// time.
func (b *bench) meanwhile(ctx context.Context, name string, op func(context.Context, *rand.Rand) error) error {
	before, err := b.c.figures(ctx)
	if err != nil {
		return err
	}
	busy, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for busy.Err() == nil {
			if err := b.createBatch(ctx, nil); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	begun := time.Now()
	all, err := b.times(ctx, 8, op)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	after, err := b.c.figures(ctx)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("%s (%.0f snapshots)", name, after.snapshots-before.snapshots), 8, float64(len(all))/time.Since(begun).Seconds(), all, -1, "", "")
	return nil
}

func (b *bench) row(name string, clients int, rate float64, sorted []time.Duration, cpu float64, appends, ratio string) {
	at := func(q float64) float64 {
		if len(sorted) == 0 {
			return 0
		}
		return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]) / 1e6
	}
	each := ""
	if cpu >= 0 {
		each = fmt.Sprintf("%.3f", cpu)
	}
	fmt.Fprintf(b.out, "| %s | %d | %.0f | %.2f | %.2f | %.1f | %s | %s | %s |\n", name, clients, rate, at(0.5), at(0.99), at(1), each, appends, ratio)
}
