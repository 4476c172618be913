package main

// splitMix64 is a small random generator, SplitMix64, for choices that need no
// secrecy.
type splitMix64 struct{ state uint64 }

func (r *splitMix64) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *splitMix64) below(n uint32) uint32 {
	return uint32(uint64(uint32(r.next()>>32)) * uint64(n) >> 32)
}
