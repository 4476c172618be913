package main

import (
	"encoding/binary"
	"strings"
	"testing"
)

const po = `msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=n != 1;\n"

#: status.js
msgid "Running"
msgstr "Läuft"

msgid "Pico Tracker"
msgstr "Pico Tracker"

msgid "%d torrent"
msgid_plural "%d torrents"
msgstr[0] "ein Torrent"
msgstr[1] "%d "
"Torrents"
`

// lookup finds the text of a key as LuCI does.
func lookup(lmo []byte, key uint32) (text string, forms uint32, found bool) {
	end := len(lmo) - 4
	for at := int(binary.BigEndian.Uint32(lmo[end:])); at < end; at += 16 {
		field := func(i int) uint32 { return binary.BigEndian.Uint32(lmo[at+4*i:]) }
		if field(0) == key {
			return string(lmo[field(2):][:field(3)]), field(1), true
		}
	}
	return "", 0, false
}

func TestConvert(t *testing.T) {
	lmo, err := convert(po)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		key        uint32
		forms      uint32
	}{
		{name: "rule", key: 0, text: "nplurals=2; plural=n != 1;", forms: 0},
		{name: "text", key: hash("Running"), text: "Läuft", forms: 1},
		{name: "one", key: hash("%d torrent\x020"), text: "ein Torrent", forms: 2},
		{name: "many", key: hash("%d torrent\x021"), text: "%d Torrents", forms: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, forms, ok := lookup(lmo, c.key)
			if !ok || text != c.text || forms != c.forms {
				t.Errorf("got %q, %d forms, %v; want %q, %d forms", text, forms, ok, c.text, c.forms)
			}
		})
	}
	if _, _, ok := lookup(lmo, hash("Pico Tracker")); ok {
		t.Error("a text that is the same in both languages takes room")
	}
}

// The values are those of LuCI's own po2lmo.
func TestHash(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint32
	}{
		{text: "Add", want: 0x300fe5c8},
		{text: "Running", want: 0x20a2f699},
		{text: "Status", want: 0x663359c9},
		{text: "Copied.", want: 0x87028d3},
		{text: "caf…é", want: 0x41b00ead},
		{text: "Asking the tracker…", want: 0xe13fdd8},
	} {
		if got := hash(c.text); got != c.want {
			t.Errorf("hash(%q) = %#x, want %#x", c.text, got, c.want)
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, c := range []struct{ name, po, want string }{
		{name: "no header", po: "msgid \"\"\nmsgstr \"\"\n", want: "no Plural-Forms"},
		{name: "no msgid", po: "msgstr \"x\"\n", want: "line 1: want msgid first"},
		{name: "no string", po: "msgid x\n", want: "line 1: want a string"},
		{name: "context", po: "msgid \"\"\nmsgctxt \"x\"\n", want: "line 2"},
		{name: "no text", po: "msgid \"a\"\n", want: `"a" has no msgstr`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := convert(c.po); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
