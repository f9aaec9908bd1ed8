package api

import (
	"context"
	"net/http"

	"belfry/internal/api/restjson"
)

// tagResource is TagResource: TagMeeting in both APIs, by the MeetingArn.
var tagResource = &operation{
	name:    "TagResource",
	method:  http.MethodPost,
	path:    "/tags",
	marker:  "tag-resource",
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		arn, tags := c.in.String("ResourceARN", c.arnRules()...), c.tags(c.in, 50, restjson.Required)
		if err := c.check(); err != nil {
			return nil, err
		}
		c.resourceARN = arn
		return nil, c.meetings().TagResource(ctx, c.account, arn, tags)
	},
}
