package textutil

import "strconv"

// Count returns a number and what is counted: 1 torrent, 2 torrents.
func Count(n uint64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return Decimal(n) + " " + thing
}

// Decimal returns a number in decimal digits.
func Decimal(n uint64) string { return strconv.FormatUint(n, 10) }
