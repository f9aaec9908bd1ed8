package memory

import (
	"testing"

	"belfry/internal/meeting"
	"belfry/internal/store/storetest"
	"belfry/test/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Opener{Open: func(testing.TB) meeting.Store { return New() }})
}
