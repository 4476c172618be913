// Program lmo converts a translation (.po) to the form that LuCI reads (.lmo):
//
//	go run packaging/lmo/main.go pico-tracker.po pico-tracker.de.lmo
//
// LuCI has a program for this in its own sources, but no registry has that. An
// .lmo file has the texts, each padded to 4 bytes, then an index sorted by the
// hash of the original text, then the offset of the index. Numbers are
// big-endian.
package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: lmo FILE.po FILE.lmo")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "lmo:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	lmo, err := convert(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, lmo, 0o644)
}

// message is an entry of a .po file.
type message struct {
	id     string
	plural bool // texts has a form for each kind of number
	texts  []string
}

// indexEntry is where a text is. Forms is how many forms the text has, and 0 for
// the rule of the plural forms, whose key is 0.
type indexEntry struct {
	Key, Forms, Offset, Length uint32
}

func convert(po string) ([]byte, error) {
	messages, err := parse(po)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	var index []indexEntry
	add := func(key uint32, forms int, text string) {
		index = append(index, indexEntry{key, uint32(forms), uint32(out.Len()), uint32(len(text))})
		out.WriteString(text)
		out.Write(make([]byte, -out.Len()&3))
	}
	for _, m := range messages {
		if m.id == "" {
			rule := pluralRule(m.texts[0])
			if rule == "" {
				return nil, errors.New("no Plural-Forms in the header")
			}
			add(0, 0, rule)
			continue
		}
		for i, text := range m.texts {
			key := m.id
			if m.plural {
				key += "\x02" + strconv.Itoa(i)
			}
			if text != "" && text != key { // LuCI shows the original otherwise
				add(hash(key), len(m.texts), text)
			}
		}
	}
	slices.SortStableFunc(index, func(a, b indexEntry) int { return cmp.Compare(a.Key, b.Key) })
	for i := 1; i < len(index); i++ {
		if index[i].Key == index[i-1].Key {
			return nil, errors.New("two texts have the same hash")
		}
	}
	offset := out.Len()
	if err := binary.Write(&out, binary.BigEndian, index); err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint32(out.Bytes(), uint32(offset)), nil
}

// pluralRule returns the value of Plural-Forms in the header of a .po file.
func pluralRule(header string) string {
	for _, line := range strings.Split(header, "\n") {
		if rule, ok := strings.CutPrefix(line, "Plural-Forms: "); ok {
			return rule
		}
	}
	return ""
}

// parse reads a .po file. Contexts (msgctxt) are not supported, because the page
// has none.
func parse(po string) (messages []message, err error) {
	var field *string // the one that a line with only a string continues
	for n, line := range strings.Split(po, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		word, quoted, _ := strings.Cut(line, " ")
		if line[0] == '"' {
			word, quoted = "", line
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("line %d: want a string in quotation marks", n+1)
		}
		if word == "msgid" {
			messages = append(messages, message{})
		}
		if len(messages) == 0 {
			return nil, fmt.Errorf("line %d: want msgid first", n+1)
		}
		m := &messages[len(messages)-1]
		switch {
		case word == "msgid":
			field = &m.id
		case word == "msgid_plural":
			m.plural, field = true, new(string)
		case word == "msgstr" || strings.HasPrefix(word, "msgstr["):
			m.texts = append(m.texts, "")
			field = &m.texts[len(m.texts)-1]
		case word != "":
			return nil, fmt.Errorf("line %d: %q is not supported", n+1, word)
		}
		*field += value
	}
	for _, m := range messages {
		if len(m.texts) == 0 {
			return nil, fmt.Errorf("%q has no msgstr", m.id)
		}
	}
	return messages, nil
}

// hash is Paul Hsieh's SuperFastHash with the length as its start value, in which
// LuCI takes a single last byte as signed.
func hash(text string) uint32 {
	h := uint32(len(text))
	get16 := func(i int) uint32 { return uint32(text[i]) | uint32(text[i+1])<<8 }
	signed := func(i int) uint32 { return uint32(int32(int8(text[i]))) }
	i := 0
	for ; len(text)-i >= 4; i += 4 {
		h += get16(i)
		h = h<<16 ^ get16(i+2)<<11 ^ h
		h += h >> 11
	}
	switch len(text) - i {
	case 3:
		h += get16(i)
		h ^= h << 16
		h ^= signed(i+2) << 18
		h += h >> 11
	case 2:
		h += get16(i)
		h ^= h << 11
		h += h >> 17
	case 1:
		h += signed(i)
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	h += h >> 6
	return h
}
