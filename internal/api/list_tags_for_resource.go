package api

import (
	"context"
	"net/http"
)

// listTagsForResource is ListTagsForResource. The ARN is in the query.
var listTagsForResource = &operation{
	name:    "ListTagsForResource",
	method:  http.MethodGet,
	path:    "/tags",
	success: http.StatusOK,
	serve: func(ctx context.Context, c *call) (any, error) {
		value, present := c.queryValue("arn")
		arn := c.in.Query("ResourceARN", value, present, c.arnRules()...)
		if err := c.check(); err != nil {
			return nil, err
		}
		c.resourceARN = arn
		tags, err := c.meetings().ListTagsForResource(ctx, c.account, arn)
		if err != nil {
			return nil, err
		}
		return bodyOfTags(tags), nil
	},
}
