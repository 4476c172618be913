package logger

// Throttle is something that strangers cause and that is counted. It is worth a
// line when there is much of it in a minute, and while it goes on after two,
// four and so on up to an hour: nobody fills the log.
type Throttle struct {
	lastCount uint64 // of the count
	last      uint32 // when, in seconds
	wait      uint32 // until it may be told again
}

// Next says by how much the count has grown, and in how many seconds; 0 where
// there is nothing to tell now.
func (n *Throttle) Next(count uint64, now uint32) (more uint64, in uint32) {
	if in = now - n.last; in < max(n.wait, firstWait) {
		return 0, 0
	}
	more = count - n.lastCount
	n.lastCount, n.last, n.wait = count, now, min(max(firstWait, 2*n.wait), maxWait)
	if more*60 < minPerMinute*uint64(in) {
		n.wait = 0
		return 0, 0
	}
	return more, in
}
