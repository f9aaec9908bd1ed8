package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"belfry/internal/meeting"
	"belfry/internal/store/jetstream"
)

// doubleVariable is set in the process that stands for a queue and a webhook:
// how long it takes for an answer.
const doubleVariable = "BELFRY_BENCH_DOUBLE"

// double serves until its standard input ends. What it takes of the processor is
// not in the measurement, since it is a process of its own.
func double() {
	takes, _ := time.ParseDuration(os.Getenv(doubleVariable))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		time.Sleep(takes)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch operation {
		case "GetQueueUrl":
			io.WriteString(w, `{"QueueUrl":"http://double.invalid/q"}`)
		case "SendMessage":
			io.WriteString(w, `{"MessageId":"1"}`)
		case "SendMessageBatch":
			var in struct{ Entries []struct{ Id string } }
			_ = json.Unmarshal(body, &in)
			_ = json.NewEncoder(w).Encode(map[string]any{"Successful": in.Entries})
		}
	}))
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
}

// alone hides that a Sender can send several messages at once.
type alone struct{ Sender }

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDelivery delivers what waits in the store on disk to a target in
// another process: events a second, and the processor's time for one of them.
func BenchmarkDelivery(b *testing.B) {
	for _, answer := range []string{"0s", "10ms"} {
		for _, meetings := range []int{1, 1000} {
			if answer != "0s" && meetings == 1 {
				continue // one after the other: that is known
			}
			for _, kind := range []string{"queue", "queue, no batches", "webhook"} {
				b.Run(fmt.Sprintf("%s/answers in %s/meetings=%d", kind, answer, meetings), func(b *testing.B) { deliver(b, kind, answer, meetings) })
			}
		}
	}
}

func deliver(b *testing.B, kind, answer string, meetings int) {
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), doubleVariable+"="+answer)
	stdin, err := other.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := other.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { stdin.Close(); _ = other.Wait() }()
	at, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	at = strings.TrimSpace(at)

	store, err := jetstream.Open(b.Context(), jetstream.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	to := meeting.Notifications{SQSQueueARN: queueA}
	if kind == "webhook" {
		to = meeting.Notifications{Webhooks: []string{at}}
	}
	for from := 0; from < b.N || from == 0; from += 5000 {
		err := store.Update(b.Context(), func(tx meeting.Tx) error {
			for i := from; i < min(from+5000, b.N); i++ {
				id := strconv.Itoa(i % meetings)
				if _, ok := tx.Meeting(id); !ok {
					tx.PutMeeting(&meeting.Meeting{ID: id, Account: "123456789012", ClientRequestToken: id, Notifications: to})
				}
				tx.Emit(meeting.Event{ID: "2f3f5f3e-7f0b-4c63-9f4f-" + strconv.Itoa(i), Type: meeting.EventAttendeeJoined, At: time.Now(),
					Account: "123456789012", Region: "us-east-1", MeetingID: id, AttendeeID: "9b1d6a52-64e4-4dd1-b6a6-1c5a2b0f1706", ExternalUserID: "user", NetworkType: "Voip"})
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	queue := Sender(Queues(AWS{Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), HTTP: newClient(),
		Endpoints: Endpoints{Getenv: env("AWS_ENDPOINT_URL", at)}}))
	if kind == "queue, no batches" {
		queue = alone{queue}
	}
	before := cpu(b)
	b.ResetTimer()
	n, err := Start(b.Context(), Config{Store: store, Senders: map[meeting.TargetKind]Sender{
		meeting.TargetSQS: queue, meeting.TargetWebhook: Webhooks{URLs: []string{at}, Secret: "secret"}.Sender()}})
	if err != nil {
		b.Fatal(err)
	}
	for left := 1; left > 0; time.Sleep(2 * time.Millisecond) {
		err := store.View(b.Context(), func(r meeting.Reader) error { left = len(r.Undelivered()); return nil })
		if err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	used := cpu(b) - before
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "µs-cpu/event")
	b.ReportMetric(0, "ns/op")
	if err := n.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
