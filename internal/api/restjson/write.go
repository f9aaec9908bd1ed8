package restjson

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// Write sends an answer: compact JSON, or nothing for a nil body. The caller
// has logged what there is to log; a client that went away is no error here.
func Write(w http.ResponseWriter, requestID string, status int, body any) {
	header := w.Header()
	header.Set("X-Amzn-RequestId", requestID)
	if body == nil {
		if status != http.StatusNoContent {
			header.Set("Content-Length", "0")
		}
		w.WriteHeader(status)
		return
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		panic(err) // our own structs of strings
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// WriteError sends an error in its form.
func WriteError(w http.ResponseWriter, requestID string, e *Error) {
	w.Header().Set("X-Amzn-ErrorType", e.Name)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	if e.Code == "" {
		Write(w, requestID, e.Status, struct {
			Message string `json:"message"`
		}{e.Message})
		return
	}
	if e.ResourceName != "" {
		Write(w, requestID, e.Status, struct{ Code, Message, RequestId, ResourceName string }{e.Code, e.Message, requestID, e.ResourceName})
		return
	}
	Write(w, requestID, e.Status, struct {
		Code      string
		Message   string
		RequestId string
		Resource  *string
	}{e.Code, e.Message, requestID, nil})
}
