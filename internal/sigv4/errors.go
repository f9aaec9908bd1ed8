package sigv4

import (
	"fmt"
	"net/http"
)

// Error is a refusal, with the name and status that SDKs know it by.
type Error struct {
	Name    string // for x-amzn-ErrorType, such as InvalidSignatureException
	Status  int    // HTTP status
	Message string // what to correct; never holds a secret
}

// Error implements error.
func (e *Error) Error() string { return e.Name + ": " + e.Message }

func missing() *Error {
	return &Error{Name: "MissingAuthenticationTokenException", Status: http.StatusForbidden, Message: "Missing Authentication Token"}
}

func incomplete(format string, args ...any) *Error {
	return &Error{Name: "IncompleteSignatureException", Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Error {
	return &Error{Name: "InvalidSignatureException", Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...)}
}

func unrecognized() *Error {
	return &Error{Name: "UnrecognizedClientException", Status: http.StatusForbidden,
		Message: "The security token included in the request is invalid."}
}
