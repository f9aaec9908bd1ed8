package api

import (
	"context"
	"net/http"
)

// untagResource is UntagResource.
var untagResource = &operation{
	name:    "UntagResource",
	method:  http.MethodPost,
	path:    "/tags",
	marker:  "untag-resource",
	success: http.StatusNoContent,
	serve: func(ctx context.Context, c *call) (any, error) {
		arn, keys := c.in.String("ResourceARN", c.arnRules()...), c.tagKeys(50)
		if err := c.check(); err != nil {
			return nil, err
		}
		c.resourceARN = arn
		return nil, c.meetings().UntagResource(ctx, c.account, arn, keys)
	},
}
