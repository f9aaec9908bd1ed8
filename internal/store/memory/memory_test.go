package memory

import (
	"testing"

	"belfry/internal/meeting"
	"belfry/internal/store/storetest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Opener{Open: func(testing.TB) meeting.Store { return New() }})
}
