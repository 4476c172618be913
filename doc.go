// Pico-tracker is a BitTorrent tracker over UDP (BEP 15) that lives in a fixed
// amount of memory on a router or a single-board computer.
//
// # Files
//
// One mechanism in each file. A file uses only files below it in this list; a
// test checks it. What knows nothing of trackers is in packages under internal/.
//
//	main        wiring, signals, exit codes
//	plan        -plan: what fits into the memory
//	torrent_commands -hash and -add-tracker: .torrent files
//	signal      the signal that differs by system
//	status      -status: figures for people
//	probe       -probe: asks any UDP tracker
//	memory_plan how -memory is divided
//	help        what -help prints
//	config      flags and environment
//	maintenance the loop that sweeps, reloads and reports
//	worker      the loop that receives, answers and sends
//	report      the figures in words: Prometheus' and the log's
//	kernel      what the kernel counts of this process
//	links       follows interfaces, addresses and default routes
//	external_file follows the file of -external-ip
//	tracker     policy: what a connect, an announce or a scrape does
//	cookie      stateless connection IDs
//	ratelimit   limits of fixed size
//	whitelist   the access list
//	listfile    reads list files, .torrent files and directories of them
//	one_address notices a proxy in front of the tracker
//	store       from info hash to swarm: the table, its records, the sweep
//	source_quota how much of the store one source may use
//	choice      which peers go into a reply
//	peers       peers packed into fixed-size blocks
//	scope       how far an address can be reached
//	pool        the slab and its blocks
//	stats       counters
//	rand        random numbers for choices that need no secrecy
//	suggest     the name that a misspelled one means
//	text        text helpers
//
// # Memory
//
// -memory caps the resident memory of the process. At start it is divided:
// first what the Go runtime, the sockets and the limiters take, then the access
// list, and all the rest is the slab with its page and hash tables. The slab is
// mapped outside the Go heap and becomes resident as it fills. Nothing that a
// packet can create lives anywhere else, and the packet path allocates nothing,
// so that the collector is off until reloads of the list give it work.
//
// The slab is made of pages of 4 KiB, each lent to a class of blocks of one
// size while it has any. Blocks are named by number (type ref), never by
// pointer, and nobody keeps a ref across a lock, so that blocks can be moved
// together when others are freed. A torrent of up to four peers is one record
// of 64 bytes; larger swarms are trees of leaves (see peers.go).
//
// # Locks
//
// The store is divided into shards by info hash. A shard's lock is held for one
// announce, or for one page of the sweep. The pool's lock may be taken while a
// shard's is held, never the other way round; no one holds two shards. Workers
// share nothing else: cookies, limiters and counters are a worker's own.
package main
