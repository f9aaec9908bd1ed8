//go:build !unix

package capacity

import "time"

func processTime() time.Duration { return 0 }
