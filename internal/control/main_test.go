package control

import (
	"testing"

	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }
