package logger

const (
	minPerMinute = 100     // an event that is rarer gets no line
	firstWait    = 60      // seconds
	maxWait      = 60 * 60 // seconds
)

// Throttle decides when an event that strangers cause gets a log line. It gets
// the first line if it happens often in one minute. While it continues, it gets
// further lines after 2, 4, 8 minutes and so on up to an hour. So nobody can
// fill the log.
type Throttle struct {
	lastCount uint64 // the count when the last line was written
	last      uint32 // the time of the last line, in seconds
	wait      uint32 // seconds until the next line
}

// Next returns by how much the count has grown, and in how many seconds. It
// returns 0 if no line is due. now is in seconds.
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
