package meeting

import (
	"slices"
	"strings"
)

// MediaRegions is where AWS hosts media, GovCloud included. Here the media runs
// where the server runs and the region is a label.
var MediaRegions = []string{
	"af-south-1",
	"ap-northeast-1", "ap-northeast-2",
	"ap-south-1",
	"ap-southeast-1", "ap-southeast-2",
	"ca-central-1",
	"eu-central-1", "eu-north-1", "eu-south-1",
	"eu-west-1", "eu-west-2", "eu-west-3",
	"sa-east-1",
	"us-east-1", "us-east-2",
	"us-west-1", "us-west-2",
	"us-gov-east-1", "us-gov-west-1",
}

const defaultMediaRegion = "us-east-1"

// mediaRegion is the region of a new meeting for which region was asked.
func (s *Service) mediaRegion(region string) (string, error) {
	if region == "" {
		return s.opt.DefaultMediaRegion, nil
	}
	if !slices.Contains(s.opt.MediaRegions, region) {
		return "", Errorf(CodeBadRequest, "MediaRegion: %.64q is not a media region of this server, which are %s",
			region, strings.Join(s.opt.MediaRegions, ", "))
	}
	return region, nil
}
