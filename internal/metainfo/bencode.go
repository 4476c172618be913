package metainfo

import "io"

// This file reads bencoded values (BEP 3) from a stream. It knows nothing of
// torrents. Each method reads one value; a value of another type than the
// wanted one is skipped, because clients do the same.

// offset is the position in the file of the next byte.
func (d *Reader) offset() int64 { return d.before + int64(d.next) }

// fill reads more of the file after everything in the buffer was used.
func (d *Reader) fill() error {
	if d.err != nil {
		return d.err
	}
	d.hash()
	d.before += int64(d.have)
	d.have, d.next, d.hashed = 0, 0, 0
	if d.before >= MaxSize {
		return ErrTooLarge
	}
	for tries := 0; d.have == 0; tries++ {
		n, err := d.in.Read(d.buf[:])
		d.have = n
		if err == io.EOF || err == nil && tries == 100 {
			err = ErrTruncated
		}
		if d.err = err; n == 0 && err != nil {
			return err
		}
	}
	return nil
}

// hash gives the digests what was read since they were last given something.
func (d *Reader) hash() {
	if d.hashing {
		d.v1.write(d.buf[d.hashed:d.next])
		d.v2.Write(d.buf[d.hashed:d.next])
	}
	d.hashed = d.next
}

// peek returns the next byte and leaves it there.
func (d *Reader) peek() (byte, error) {
	if d.next == d.have {
		if err := d.fill(); err != nil {
			return 0, err
		}
	}
	return d.buf[d.next], nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// digits reads a decimal number and the byte after it, which must be end.
func (d *Reader) digits(end byte) (n uint64, err error) {
	for count := 0; ; count++ {
		c, err := d.peek()
		if err != nil {
			return 0, err
		}
		d.next++
		switch {
		case isDigit(c) && count < 19: // fits into 63 bits
			n = 10*n + uint64(c-'0')
		case c == end && count > 0:
			return n, nil
		default:
			return 0, ErrNotTorrent
		}
	}
}

// number reads an integer. Negative ones are 0.
func (d *Reader) number() (uint64, error) {
	c, err := d.peek()
	if err != nil {
		return 0, err
	}
	if c != 'i' {
		return 0, d.skip()
	}
	d.next++
	if c, err = d.peek(); err != nil {
		return 0, err
	}
	negative := c == '-'
	if negative {
		d.next++
	}
	n, err := d.digits('e')
	if negative {
		n = 0
	}
	return n, err
}

// text reads a string and returns at most limit bytes of it.
func (d *Reader) text(limit int) (string, error) {
	c, err := d.peek()
	if err != nil {
		return "", err
	}
	if !isDigit(c) {
		return "", d.skip()
	}
	length, err := d.digits(':')
	if err != nil {
		return "", err
	}
	if length > MaxSize {
		return "", ErrTooLarge
	}
	var kept []byte
	for length > 0 {
		if _, err := d.peek(); err != nil {
			return "", err
		}
		n := int(min(length, uint64(d.have-d.next)))
		kept = append(kept, d.buf[d.next:d.next+min(n, limit-len(kept))]...)
		d.next += n
		length -= uint64(n)
	}
	return string(kept), nil
}

// list calls f for each value of a list. f must read it.
func (d *Reader) list(f func() error) error { return d.values('l', f) }

// maxKey is how many bytes of a key are kept. No key that matters is as long.
const maxKey = 16

// dictionary calls f for each key of a dictionary. f must read its value.
func (d *Reader) dictionary(f func(key string) error) error {
	return d.values('d', func() error {
		c, err := d.peek()
		if err != nil {
			return err
		}
		if !isDigit(c) {
			return ErrNotTorrent
		}
		d.keyAt = d.offset()
		key, err := d.text(maxKey)
		if err != nil {
			return err
		}
		return f(key)
	})
}

// values calls f until the list or dictionary that begins with kind ends.
func (d *Reader) values(kind byte, f func() error) error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	if c != kind {
		return d.skip()
	}
	d.next++
	if d.depth++; d.depth > maxDepth {
		return ErrTooDeep
	}
	for {
		c, err := d.peek()
		if err != nil {
			return err
		}
		if c == 'e' {
			d.next++
			d.depth--
			return nil
		}
		if err := f(); err != nil {
			return err
		}
	}
}

// skip reads a value of any type.
func (d *Reader) skip() (err error) {
	c, err := d.peek()
	switch {
	case err != nil:
	case c == 'i':
		_, err = d.number()
	case c == 'l':
		err = d.list(d.skip)
	case c == 'd':
		err = d.dictionary(func(string) error { return d.skip() })
	case isDigit(c):
		_, err = d.text(0)
	default:
		err = ErrNotTorrent
	}
	return err
}
