package app

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings"
	"github.com/aws/aws-sdk-go-v2/service/chimesdkmeetings/types"
)

// The operator says which MediaRegions there are.
func TestMediaRegions(t *testing.T) {
	cfg := settings(t)
	cfg.MediaRegions, cfg.Region = []string{"lab", "us-east-1"}, "lab"
	api := sdk(t, start(t, cfg, io.Discard))
	create := func(region string) (string, error) {
		out, err := api.CreateMeeting(t.Context(), &chimesdkmeetings.CreateMeetingInput{
			ClientRequestToken: aws.String("in-" + region), ExternalMeetingId: aws.String("room"), MediaRegion: &region,
		})
		if err != nil {
			return "", err
		}
		return *out.Meeting.MediaRegion, nil
	}
	for _, region := range cfg.MediaRegions {
		if got, err := create(region); err != nil || got != region {
			t.Errorf("%s: %q, %v", region, got, err)
		}
	}
	_, err := create("eu-west-1")
	if bad := (*types.BadRequestException)(nil); !errors.As(err, &bad) || !strings.Contains(bad.ErrorMessage(), "which are lab, us-east-1") {
		t.Errorf("eu-west-1: %v", err)
	}
}
