//go:build !linux || portable

package procfs

// Stats is empty: nothing is known on this system.
type Stats struct{}

func Open([]byte) *Stats { return &Stats{} }

func (*Stats) Close() {}

// Resident returns 0: it is unknown.
func (*Stats) Resident([]byte) int { return 0 }

func (*Stats) Overflowed(bool, []byte) (n uint64, ok bool) { return 0, false }
