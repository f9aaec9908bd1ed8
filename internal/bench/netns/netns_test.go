package netns

import "testing"

func TestOnlyWithin(t *testing.T) {
	if Inside() {
		t.Fatal("a test is no program within")
	}
	if err := Prepare(t.Context()); err == nil {
		t.Error("the interfaces of the machine's own network would have been changed")
	}
}
