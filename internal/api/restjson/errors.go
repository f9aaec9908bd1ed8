package restjson

import (
	"fmt"
	"net/http"
)

// Error is an answer that is not a success, in the two forms that AWS's
// rest-json services send.
//
// A modelled error has a Code: its body is Code, Message, RequestId and
// Resource, and SDKs have a class for it. A framework error has none: its body
// is {"message": …} alone.
type Error struct {
	Status  int    // HTTP status
	Name    string // for x-amzn-ErrorType: the plain name, such as NotFoundException
	Code    string // the body's Code, such as NotFound; "" for a framework error
	Message string // for the caller
	// ResourceName is the ARN of what a modelled error is about; "" for errors
	// that have no such member.
	ResourceName string
	RetryAfter   int   // seconds, for the Retry-After header; 0: no header
	Cause        error // for the operator's log; may be nil
}

// Error implements error.
func (e *Error) Error() string { return e.Name + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// UnknownOperation is the answer to a path, method or operation that does not
// exist.
func UnknownOperation(format string, args ...any) *Error {
	return &Error{Status: http.StatusNotFound, Name: "UnknownOperationException", Message: fmt.Sprintf(format, args...)}
}

// TooLarge is the answer to a body of more than limit bytes.
func TooLarge(limit int64) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Name: "RequestEntityTooLargeException",
		Message: fmt.Sprintf("The request body is longer than %d bytes.", limit)}
}

// AccessDenied is the answer to a caller that may not do what it asked.
func AccessDenied(format string, args ...any) *Error {
	return &Error{Status: http.StatusForbidden, Name: "AccessDeniedException", Message: fmt.Sprintf(format, args...)}
}

// WrongRegion refuses a signature for a region in which AWS does not have the API.
func WrongRegion(region string) *Error {
	return &Error{Status: http.StatusForbidden, Name: "InvalidSignatureException",
		Message: fmt.Sprintf("Credential should be scoped to a valid region, not '%s'. ", region)}
}

func serialization(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "SerializationException", Message: fmt.Sprintf(format, args...)}
}
