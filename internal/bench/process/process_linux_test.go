package process

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadUsageOfThisProcess(t *testing.T) {
	before, err := ReadUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var after Usage
	for end := time.Now().Add(time.Minute); after.CPU <= before.CPU && time.Now().Before(end); {
		for i := range 1000 {
			_ = strings.Repeat("x", i)
		}
		if after, err = ReadUsage(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after.CPU <= before.CPU || after.RSS < 1<<20 {
		t.Errorf("from %+v to %+v", before, after)
	}
}
