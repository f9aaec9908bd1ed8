// Command go-v1.25.39 calls operations with the first AWS SDK for Go that had
// meetings, for the conformance suite. It is a module of its own because that
// SDK is pinned to its launch version here. The argument is the endpoint; lines
// in and out are as in ../client.mjs.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"reflect"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/awserr"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/chime"
)

func main() {
	s, err := session.NewSession(&aws.Config{
		Endpoint: aws.String(os.Args[1]), Region: aws.String(os.Getenv("AWS_DEFAULT_REGION")), MaxRetries: aws.Int(0),
	})
	if err != nil {
		log.Fatal(err)
	}
	client := reflect.ValueOf(chime.New(s))
	var operations []string
	for i := range client.NumMethod() {
		operations = append(operations, client.Type().Method(i).Name)
	}
	out := json.NewEncoder(os.Stdout)
	say := func(v any) {
		if err := out.Encode(v); err != nil {
			log.Fatal(err)
		}
	}
	say(map[string]any{"version": aws.SDKVersion, "operations": operations})
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var call struct {
			Operation string          `json:"operation"`
			Params    json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(in.Bytes(), &call); err != nil {
			log.Fatal(err)
		}
		method := client.MethodByName(call.Operation)
		input := reflect.New(method.Type().In(0).Elem())
		if err := json.Unmarshal(call.Params, input.Interface()); err != nil {
			log.Fatal(err)
		}
		results := method.Call([]reflect.Value{input})
		switch err := results[1].Interface().(type) {
		case nil:
			say(map[string]any{"result": results[0].Interface()})
		case awserr.RequestFailure:
			say(map[string]any{"status": err.StatusCode(), "code": err.Code(), "message": err.Message(),
				"class": fmt.Sprintf("%T", err), "request": err.RequestID()})
		default:
			log.Fatalf("failed without an answer: %v", err)
		}
	}
}
