package main

import (
	"strings"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/metainfo"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file shows the torrents of a report (-top) in -status. The tracker does not
// keep names: this process reads them from the access list.

// torrentRow is a torrent of a report.
type torrentRow struct {
	hash      string
	peers     [numSets]uint64
	downloads uint64
	refused   bool   // by the access list
	age       uint64 // seconds since then
}

// torrentRows reads the torrents of a report, in its order.
func torrentRows(report string) (rows []torrentRow) {
	for rest := report; rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		metric, labels, ok := strings.Cut(line, `{info_hash="`)
		hash, _, _ := strings.Cut(labels, `"`)
		if _, _, err := metainfo.ParseHash(hash); !ok || err != nil {
			continue
		}
		n := lineValue(line)
		row := &torrentRow{}
		for i := range rows {
			if rows[i].hash == hash && !rows[i].refused {
				row = &rows[i]
			}
		}
		switch metric {
		case metricPrefix + "top_torrent_peers":
			set := leechers4
			if strings.Contains(labels, `"ipv6"`) {
				set = leechers6
			}
			if strings.Contains(labels, `"seeder"`) {
				set++
			}
			row.peers[set] = n
		case metricPrefix + "top_torrent_downloads":
			row.downloads = n
		case metricPrefix + "refused_torrent_age_seconds":
			rows = append(rows, torrentRow{hash: hash, refused: true, age: n})
			continue
		default:
			continue
		}
		if row.hash == "" {
			row.hash = hash
			rows = append(rows, *row)
		}
	}
	return rows
}

// torrentNames finds names of torrents in the access list.
type torrentNames struct {
	names map[bep15.InfoHash]string // "": no name is known
}

// lookUp reads the list again if a report has a torrent that was not looked for.
func (t *torrentNames) lookUp(report string, rows []torrentRow) {
	missing := false
	for i := range rows {
		h, _, _ := metainfo.ParseHash(rows[i].hash)
		if _, ok := t.names[h]; !ok {
			if t.names == nil {
				t.names = map[bep15.InfoHash]string{}
			}
			t.names[h] = ""
			missing = true
		}
	}
	_, info, _ := strings.Cut(report, "\n"+metricPrefix+"list_info{")
	_, path, _ := strings.Cut(info, `path="`)
	path, _, ok := strings.Cut(path, `"`)
	if !missing || !ok {
		return
	}
	// A name is a help only: what cannot be read has none.
	r := &listReader{names: true}
	st, err := sys.Stat(path)
	switch {
	case err != nil:
	case st.IsDirectory():
		_ = sys.EachEntry(path, func(name string) error {
			if kind := kindOfEntry(name); kind != entryIgnored {
				_ = r.entry(path+"/"+name, kind, t)
			}
			return nil
		})
	case st.IsRegular():
		if f, _, err := openRegular(path); err == nil {
			_ = r.file(f, t)
			f.Close()
		}
	}
}

func (t *torrentNames) found(h *bep15.InfoHash, name string) error {
	if before, ok := t.names[*h]; ok && before == "" && name != "" {
		const most = 60 // bytes that are shown
		if n := most; len(name) > n {
			for n > 0 && name[n]&0xc0 == 0x80 { // in the middle of a character
				n--
			}
			name = name[:n] + "..."
		}
		t.names[*h] = textutil.Printable(name)
	}
	return nil
}

func (t *torrentNames) badLine(int, error) {}

// show appends the table of torrents.
func (t *torrentNames) show(w *textBuilder, report, end string) {
	rows := torrentRows(report)
	if len(rows) == 0 {
		return
	}
	t.lookUp(report, rows)
	const width = 2 * len(bep15.InfoHash{})
	title := func(text string) {
		w.add(end)
		w.add(text)
	}
	last := -1 // the kind of the row before
	for i := range rows {
		r := &rows[i]
		if kind := b2i(r.refused); kind != last {
			last = kind
			if r.refused {
				title("refused by the access list")
				w.right("ago", width+9-len("refused by the access list"))
			} else {
				title("torrents with most peers")
				w.right("leech4", width+7-len("torrents with most peers"))
				for _, column := range [...]string{"seed4", "leech6", "seed6", "done"} {
					w.right(column, 7)
				}
			}
			w.add("  name")
			w.add(end)
		}
		w.add(r.hash)
		if r.refused {
			w.right(ageText(seconds(r.age)), 9)
		} else {
			for _, set := range [...]int{leechers4, seeders4, leechers6, seeders6} {
				w.right(formatSI(r.peers[set]), 7)
			}
			w.right(formatSI(r.downloads), 7)
		}
		h, _, _ := metainfo.ParseHash(r.hash)
		if name := t.names[h]; name != "" {
			w.add("  ")
			w.add(name)
		}
		w.add(end)
	}
}
