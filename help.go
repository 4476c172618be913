package main

import "strings"

// This file prints -help from the table of options.

const (
	helpWidth  = 80
	helpColumn = 24 // where the explanations begin
)

const helpHead = `Usage:
  pico-tracker [flags]                  run the tracker
  pico-tracker [flags] -plan            show what fits into the memory
  pico-tracker [flags] -probe ADDRESS   check that a UDP tracker answers
  pico-tracker -status FILE             show the statistics of a running tracker
  pico-tracker -hash FILES              show the info hashes of .torrent files
  pico-tracker -add-tracker URL FILES   add the tracker to .torrent files

A BitTorrent tracker over UDP (BEP 15) in a fixed amount of memory.
`

const helpTail = `
Examples:
  pico-tracker -port 6969 -memory 16M -whitelist /etc/pico-tracker/list.txt
  pico-tracker -memory 64M -plan
  pico-tracker -probe udp://127.0.0.1:1337/announce

Each flag except the commands can also be set with an environment variable:
PICO_TRACKER__ and the name in capitals, with _ for -, for example
PICO_TRACKER__SECRET_FILE. A flag wins over its variable. DEBUG=1 works as well.
Signals: SIGHUP reloads the list, SIGUSR1 logs a summary, SIGTERM stops.
Exit codes: 0 success, 1 failure, 2 wrong flag or variable.
Service settings: /etc/config/pico-tracker (OpenWrt), /etc/default/pico-tracker.
Documentation: man pico-tracker, https://github.com/fabricionaweb/pico-tracker
`

// helpText returns what -help prints.
func helpText() []byte {
	w := textBuilder(helpHead)
	for i := range options {
		o := &options[i]
		if i == 0 || o.group != options[i-1].group {
			w.add("\n")
			w.add(groupNames[o.group])
			w.add(":\n")
		}
		start := len(w)
		w.add("  -")
		w.add(o.name)
		if o.short != "" {
			w.add(", -")
			w.add(o.short)
		}
		if o.value != "" {
			w.add(" ")
			w.add(o.value)
		}
		text := o.help
		if o.defaultText != "" {
			text += " (default " + o.defaultText + ")"
		}
		column := len(w) - start
		for _, word := range strings.Split(text, " ") {
			if column+1+len(word) > helpWidth || column == helpColumn-1 {
				w.add("\n")
				column = 0
			}
			for column < helpColumn-1 {
				w.add(" ")
				column++
			}
			w.add(" ")
			w.add(word)
			column += 1 + len(word)
		}
		w.add("\n")
	}
	w.add(helpTail)
	return w
}
