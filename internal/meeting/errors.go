package meeting

import (
	"errors"
	"fmt"
)

// Code is the kind of a refusal. The edges map it to what their clients know:
// the API to an AWS error name and status, signaling to a close code.
type Code string

// Every code there is.
const (
	CodeBadRequest    Code = "BadRequest"    // a rule the caller can keep was broken
	CodeUnauthorized  Code = "Unauthorized"  // the caller did not prove who it is
	CodeForbidden     Code = "Forbidden"     // the caller may not do this
	CodeNotFound      Code = "NotFound"      // no such meeting or attendee for this caller
	CodeConflict      Code = "Conflict"      // two requests met
	CodeLimitExceeded Code = "LimitExceeded" // a quota is used up
	CodeTooManyTags   Code = "TooManyTags"   // a meeting or attendee would have more tags than it may
	CodeUnprocessable Code = "Unprocessable" // well formed, but cannot be done now
	CodeThrottled     Code = "Throttled"     // too many requests
	CodeUnavailable   Code = "Unavailable"   // try again: the store or the media is not ready
	CodeInternal      Code = "Internal"      // a fault of ours
)

// Error is a refusal with a code for programs and a message for people. The
// message names the member at fault and never carries a secret.
type Error struct {
	Code    Code
	Message string
	Err     error // the cause, for the operator's log; may be nil
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error in err's chain, CodeInternal for
// an error that has none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// MessageOf returns the words of the first Error in err's chain; the text of
// any other error is for the operator's log, and "internal error" stands in.
func MessageOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "internal error"
}
