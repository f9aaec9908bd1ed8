//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	meetings "github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"

	"belfry/internal/bench"
	"belfry/internal/bench/janus"
	"belfry/internal/bench/link"
)

// Addresses are of the range for benchmarks (RFC 2544).
const (
	serverIP = "198.18.0.1"
	routerIP = "198.18.0.254"
)

// addresses are those of person i, with its host number.
func addresses(i int, host byte) link.Addresses {
	return link.Addresses{Server: netip.MustParseAddr(serverIP), Client: netip.AddrFrom4([4]byte{198, 18, byte(i + 1), host})}
}

// server is a media server in the lab.
type server interface {
	// open makes a room for the talker and the listener, and returns what the page of each
	// needs to join. Others are in it, where that makes a difference, if the row is not
	// one of two.
	open(ctx context.Context, r row) (room, error)
	version() string
	close()
}

type room struct {
	join [2]map[string]any // talker's, listener's
	end  func()
}

func startServer(ctx context.Context, name string, l *lab) (server, error) {
	switch name {
	case "belfry":
		return startBelfry(ctx, l)
	case "janus":
		return startJanus(ctx)
	}
	return nil, errors.New("there is no such server; there are belfry and janus")
}

// belfry is the real program with a data directory of its own.
type belfry struct {
	cmd    *exec.Cmd
	dir    string
	client *meetings.Client
	secret string
	done   chan error
}

func startBelfry(ctx context.Context, l *lab) (server, error) {
	dir, err := os.MkdirTemp("", "belfry-networks-")
	if err != nil {
		return nil, err
	}
	const url = "http://" + serverIP + ":7100"
	secret := rand.Text()
	s := &belfry{dir: dir, secret: secret, done: make(chan error, 1)}
	s.cmd = exec.Command(filepath.Join(l.root, l.belfry), "serve")
	s.cmd.Env = append(os.Environ(), "BELFRY_LISTEN="+serverIP+":7100", "BELFRY_DATA_DIR="+dir, "BELFRY_ACCESS_KEY_ID=AKIDNETWORKS",
		"BELFRY_SECRET_ACCESS_KEY="+secret, "BELFRY_REQUEST_RATE=0", "BELFRY_LOG_LEVEL="+l.level, "BELFRY_SHEDDING=off")
	s.cmd.Stdout, s.cmd.Stderr = l.serverLog, l.serverLog
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (go build -o bin/ ./cmd/belfry)", err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	address := url
	s.client = meetings.New(meetings.Options{BaseEndpoint: &address, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("AKIDNETWORKS", secret, "")})
	deadline := time.Now().Add(30 * time.Second)
	for {
		response, err := http.Get(url + "/healthz")
		if err == nil {
			response.Body.Close()
			return s, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			s.close()
			return nil, fmt.Errorf("it does not answer: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *belfry) version() string {
	out, _ := exec.Command(s.cmd.Path, "version").Output()
	return string(bytes.TrimSpace(out))
}

// metrics are the lines of these words.
func (s *belfry) metrics(ctx context.Context, words ...string) (lines []string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+serverIP+":7100/metrics", nil)
	if err != nil {
		return nil
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	all := bufio.NewScanner(response.Body)
	for all.Scan() {
		if line, ok := strings.CutPrefix(all.Text(), "belfry_media_"); ok && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (s *belfry) open(ctx context.Context, wish row) (room, error) {
	var features *types.MeetingFeaturesConfiguration
	if wish.Full {
		features = &types.MeetingFeaturesConfiguration{Video: &types.VideoFeatures{MaxResolution: types.VideoResolutionFhd},
			Attendee: &types.AttendeeFeatures{MaxCount: aws.Int32(25)}}
	}
	made, err := s.client.CreateMeeting(ctx, &meetings.CreateMeetingInput{
		ClientRequestToken: aws.String(rand.Text()), ExternalMeetingId: aws.String("networks"), MediaRegion: aws.String("us-east-1"), MeetingFeatures: features})
	if err != nil {
		return room{}, err
	}
	m := made.Meeting
	place := map[string]any{"SignalingUrl": m.MediaPlacement.SignalingUrl, "AudioHostUrl": m.MediaPlacement.AudioHostUrl,
		"TurnControlUrl": m.MediaPlacement.TurnControlUrl, "EventIngestionUrl": m.MediaPlacement.EventIngestionUrl,
		"AudioFallbackUrl": m.MediaPlacement.AudioFallbackUrl}
	meeting := map[string]any{"MeetingId": m.MeetingId, "ExternalMeetingId": m.ExternalMeetingId, "MediaRegion": m.MediaRegion, "MediaPlacement": place}
	if wish.Full {
		meeting["MeetingFeatures"] = map[string]any{"Video": map[string]any{"MaxResolution": "FHD"}, "Attendee": map[string]any{"MaxCount": 25}}
	}
	r := room{end: func() {
		_, _ = s.client.DeleteMeeting(context.Background(), &meetings.DeleteMeetingInput{MeetingId: m.MeetingId})
	}}
	for i := range 4 { // with both guests there are three before the listener comes
		a, err := s.client.CreateAttendee(ctx, &meetings.CreateAttendeeInput{MeetingId: m.MeetingId, ExternalUserId: aws.String("person-" + strconv.Itoa(i))})
		if err != nil {
			return r, err
		}
		if i < 2 {
			r.join[i] = map[string]any{"server": "belfry", "simulcast": !wish.Two, "meeting": meeting, "attendee": map[string]any{
				"AttendeeId": a.Attendee.AttendeeId, "ExternalUserId": a.Attendee.ExternalUserId, "JoinToken": a.Attendee.JoinToken}}
			continue
		}
		if !wish.Two {
			leave, err := bench.Guest(ctx, *m.MediaPlacement.SignalingUrl, *a.Attendee.JoinToken, serverIP)
			if err != nil {
				return r, fmt.Errorf("a guest: %w", err)
			}
			end := r.end
			r.end = func() { leave(); end() }
		}
	}
	return r, nil
}

func (s *belfry) close() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	_ = os.RemoveAll(s.dir)
}

// janusServer is Debian's Janus: an AudioBridge for sound, a VideoRoom for pictures.
type janusServer struct{ *janus.Server }

func startJanus(ctx context.Context) (server, error) {
	s, err := janus.Start(ctx, janus.Config{IP: serverIP, Listen: serverIP, CPU: -1})
	if err != nil {
		return nil, err
	}
	return janusServer{s}, nil
}

func (s janusServer) version() string { return "Janus" }

func (s janusServer) close() { s.Close() }

func (s janusServer) open(ctx context.Context, wish row) (room, error) {
	audio, err := s.AudioBridge(ctx)
	if err != nil {
		return room{}, err
	}
	video, err := s.VideoRoom(ctx, 3)
	if err != nil {
		return room{}, err
	}
	join := map[string]any{"server": "janus", "simulcast": !wish.Two, "url": s.URL(), "audioRoom": audio, "videoRoom": video}
	return room{join: [2]map[string]any{join, join}}, nil
}
