package api

import (
	"errors"
	"net/http"

	"belfry/internal/api/restjson"
	"belfry/internal/meeting"
	"belfry/internal/sigv4"
)

// retryAfter is how many seconds a client is told to wait when the server cannot
// serve it now, or its account has made too many requests: by then there are
// tokens again.
const retryAfter = 1

// modelled is one row of the declared errors: the names of the two APIs are
// the same but for three of them.
type modelled struct {
	status     int
	name, code string // of the 2018 API, and of both where the others are ""
	name2021   string
	code2021   string
}

var modelledErrors = map[meeting.Code]modelled{
	meeting.CodeBadRequest:    {http.StatusBadRequest, "BadRequestException", "BadRequest", "", ""},
	meeting.CodeUnauthorized:  {http.StatusUnauthorized, "UnauthorizedClientException", "Unauthorized", "UnauthorizedException", ""},
	meeting.CodeForbidden:     {http.StatusForbidden, "ForbiddenException", "Forbidden", "", ""},
	meeting.CodeNotFound:      {http.StatusNotFound, "NotFoundException", "NotFound", "", ""},
	meeting.CodeConflict:      {http.StatusConflict, "ConflictException", "Conflict", "", ""},
	meeting.CodeLimitExceeded: {http.StatusBadRequest, "ResourceLimitExceededException", "ResourceLimitExceeded", "LimitExceededException", "LimitExceeded"},
	meeting.CodeTooManyTags:   {http.StatusBadRequest, "ResourceLimitExceededException", "ResourceLimitExceeded", "TooManyTagsException", "TooManyTags"},
	meeting.CodeUnprocessable: {http.StatusUnprocessableEntity, "UnprocessableEntityException", "Unprocessable", "", ""},
	meeting.CodeThrottled:     {http.StatusTooManyRequests, "ThrottledClientException", "Throttled", "ThrottlingException", "Throttling"},
	meeting.CodeUnavailable:   {http.StatusServiceUnavailable, "ServiceUnavailableException", "ServiceUnavailable", "", ""},
	meeting.CodeInternal:      {http.StatusInternalServerError, "ServiceFailureException", "ServiceFailure", "", ""},
}

// names returns what the API calls the error.
func (m modelled) names(api API) (name, code string) {
	name, code = m.name, m.code
	if api == Meetings2021 {
		if m.name2021 != "" {
			name = m.name2021
		}
		if m.code2021 != "" {
			code = m.code2021
		}
	}
	return name, code
}

// failure is the one place where refusals become AWS errors.
func (h *Handler) failure(c *call, err error) *restjson.Error {
	var framework *restjson.Error
	if errors.As(err, &framework) {
		return framework
	}
	var signature *sigv4.Error
	if errors.As(err, &signature) {
		return &restjson.Error{Status: signature.Status, Name: signature.Name, Message: signature.Message}
	}
	code := meeting.CodeOf(err)
	m, ok := modelledErrors[code]
	if !ok {
		code, m = meeting.CodeInternal, modelledErrors[meeting.CodeInternal]
	}
	e := &restjson.Error{Status: m.status, Message: meeting.MessageOf(err), Cause: err}
	e.Name, e.Code = m.names(c.identity.api)
	if c.resourceARN != "" && c.identity.api == Meetings2021 {
		switch code {
		case meeting.CodeNotFound:
			e.Name, e.Code, e.ResourceName = "ResourceNotFoundException", "ResourceNotFound", c.resourceARN
		case meeting.CodeTooManyTags:
			e.ResourceName = c.resourceARN
		}
	}
	switch code {
	case meeting.CodeInternal:
		e.Message = "Service has experienced an unexpected failure"
	case meeting.CodeUnavailable, meeting.CodeThrottled:
		e.RetryAfter = retryAfter
	}
	return e
}

// errorCode is the word for a failed entry of a batch.
func (c *call) errorCode(code meeting.Code) string {
	m, ok := modelledErrors[code]
	if !ok {
		m = modelledErrors[meeting.CodeInternal]
	}
	_, word := m.names(c.identity.api)
	return word
}

// denied is the answer to a key that may not call the operation.
func (c *call) denied(user string) error {
	if c.identity.api == Chime2018 {
		return meeting.Errorf(meeting.CodeForbidden, "AWS authorization failed")
	}
	return restjson.AccessDenied("User: %s is not authorized to perform: chime:%s on resource: %s",
		user, c.operation, c.resource())
}

// resource is the ARN of what the request is about, for a refusal.
func (c *call) resource() string {
	id := c.labels["MeetingId"]
	if !isGUID(id) {
		id = "*"
	}
	return "arn:aws:chime:" + c.region + ":" + c.account + ":meeting/" + id
}
