package metainfo

import (
	"errors"
	"strings"

	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file reads info hashes as people write them: as hexadecimal digits, and
// in magnet links (BEP 9, and BEP 52 for version 2).

// MagnetPrefix is how a magnet link begins.
const MagnetPrefix = "magnet:?"

var (
	ErrMagnet = errors.New("the magnet link has no info hash; want xt=urn:btih: with 40 hexadecimal digits " +
		"or 32 of base32, or xt=urn:btmh:1220 with 64 hexadecimal digits")
	ErrHash = errors.New("an info hash is 40 hexadecimal digits, or 64 for BitTorrent v2")
)

// ParseMagnet reads a magnet link: its info hashes and its name ("dn"), which is
// not safe to print.
func ParseMagnet(link string) (*Torrent, error) {
	rest, ok := textutil.CutPrefixFold(link, "MAGNET:?")
	if !ok {
		return nil, ErrMagnet
	}
	t := &Torrent{}
	for rest != "" {
		var parameter string
		parameter, rest, _ = strings.Cut(rest, "&")
		rest = strings.TrimPrefix(rest, "amp;") // copied from a web page's source
		key, value, _ := strings.Cut(parameter, "=")
		key, number, _ := strings.Cut(key, ".") // xt.1, xt.2
		if textutil.TrimLeft(number, "0123456789") != "" {
			continue
		}
		value = unescape(value)
		switch textutil.Map(key, textutil.Upper) {
		case "XT":
			t.topic(value)
		case "DN":
			if t.Name == "" {
				t.Name = value[:min(len(value), MaxName)]
			}
		case "TR":
			if len(value) > MaxURL {
				break
			}
			if len(t.Lists) < MaxTrackers {
				t.Lists = append(t.Lists, []string{value})
			} else {
				t.Left++
			}
		}
	}
	if !t.HasV1 && !t.HasV2 {
		return nil, ErrMagnet
	}
	return t, nil
}

// topic reads an exact topic. It ignores topics of other kinds, a second topic
// of the same kind, and malformed topics.
func (t *Torrent) topic(v string) {
	if digits, ok := textutil.CutPrefixFold(v, "URN:BTIH:"); ok && !t.HasV1 {
		t.HasV1 = len(digits) == 40 && parseHex(digits, t.V1[:]) || len(digits) == 32 && parseBase32(digits, &t.V1)
	}
	// 0x12 is SHA-256, 0x20 its 32 bytes.
	if digits, ok := textutil.CutPrefixFold(v, "URN:BTMH:1220"); ok && !t.HasV2 {
		t.HasV2 = len(digits) == 64 && parseHex(digits, t.V2[:])
	}
}

// ParseHash reads the info hash at the start of s: 40 or 64 hexadecimal digits
// that no letter or digit follows. rest is what follows.
func ParseHash(s string) (h Hash, rest string, err error) {
	n := 0
	for n < len(s) && (isDigit(s[n]) || isLetter(s[n])) {
		n++
	}
	if n != 40 && n != 64 || n < len(s) && s[n] >= 0x80 || !parseHex(s[:40], h[:]) || !parseHex(s[40:n], make([]byte, 12)) {
		return h, s, ErrHash
	}
	return h, s[n:], nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// parseHex reads len(s)/2 bytes. (encoding/hex would bring fmt along: 50 KB of a
// router's flash.)
func parseHex(s string, dst []byte) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case isDigit(c):
			c -= '0'
		case isLetter(c) && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return false
		}
		dst[i/2] = dst[i/2]<<4 | c
	}
	return true
}

// parseBase32 reads 32 digits of RFC 4648.
func parseBase32(s string, dst *Hash) bool {
	have, bits, n := uint32(0), 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case isLetter(c):
			c = c | 0x20 - 'a'
		case '2' <= c && c <= '7':
			c = c - '2' + 26
		default:
			return false
		}
		have = have<<5 | uint32(c)
		if bits += 5; bits >= 8 {
			bits -= 8
			dst[n] = byte(have >> bits)
			n++
		}
	}
	return true
}

// unescape decodes the percent-encoding of a value. What is malformed stays.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		var c [1]byte
		switch {
		case s[i] == '%' && i+2 < len(s) && parseHex(s[i+1:i+3], c[:]):
			b = append(b, c[0])
			i += 2
		case s[i] == '+':
			b = append(b, ' ')
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}
