// Package signalpb is the Go form of proto/signaling.proto, the frames of the
// signaling WebSocket. Everything in it but this file is generated, by protoc
// 3.21.12 and protoc-gen-go v1.36.12; change the schema and run go generate.
package signalpb

//go:generate protoc --proto_path=../../../proto --go_out=../../.. --go_opt=module=belfry signaling.proto
