// Pico-tracker is a BitTorrent tracker over UDP (BEP 15) that uses a fixed amount
// of memory. It runs on routers and single-board computers.
//
// # Glossary
//
//	torrent    what the tracker stores for an info hash
//	peer       a client of a torrent: address, port, role, age
//	swarm      all peers of a torrent
//	role       seeder (has everything) or leecher
//	set        the peers of a swarm with one family and role
//	scope      from where an address can be reached: link, host, private, global
//	source     what a quota counts: an IPv4 address or an IPv6 /64
//	slab       the memory of all torrents and peers, one mapping
//	page       4 KiB of the slab
//	class      the size of the blocks of a page, and what they hold
//	block      a torrent record, a node or a leaf
//	ref        the number of a block; never a pointer
//	leaf       a block with the peers of a part of a set
//	node       a block with eight refs to leaves or nodes
//	rank       the place of a peer in its set; the choice for a reply is by rank
//	shard      a part of the store with a lock and a table of its own
//	sweep      the walk over all pages that removes expired peers
//	purge      the walk that removes torrents which the access list refuses
//	worker     the loop of one socket: receive, answer, send
//	handler    what a worker needs to answer: cookies, limits, counters
//	cookie     a connection ID, which needs no memory for each client
//
// # Files
//
// One mechanism in each file. A file uses only files below it in this list; a
// test checks it.
//
//	main             wiring, signals, exit codes
//	plan             -plan: what fits into the memory
//	torrent_commands -hash and -add-tracker: commands for .torrent files
//	status           -status: the statistics for people
//	status_torrents  the torrents that -status shows
//	probe            -probe: which addresses to ask, and the output
//	memory_plan      how -memory is divided
//	sandbox          -sandbox: what the tracker needs while it serves
//	help             what -help prints
//	config           flags and environment
//	maintenance      the loop that sweeps, reloads and reports
//	worker           the loop that receives, answers and sends
//	report           the statistics as text: for Prometheus and for the log
//	report_file      writes the file of -stats
//	links            follows interfaces, addresses and default routes
//	external_file    follows the file of -external-ip
//	tracker          policy: what a connect, an announce or a scrape does
//	cookie           connection IDs
//	ratelimit        rate limits in tables of fixed size
//	whitelist        the access list
//	listfile         reads list files, .torrent files and directories of them
//	one_address      notices a proxy in front of the tracker
//	store            from info hash to swarm: the table, its records, the sweep
//	top_torrents     the torrents that the report names
//	source_quota     how much of the store one source may use
//	choice           which peers go into a reply
//	peers            peers packed into fixed-size blocks
//	scope            from where an address can be reached
//	isolation        networks that do not reach each other
//	pool             the slab and its blocks
//	alarm            wakes the maintenance loop
//	stats            counters
//	rand             random numbers for choices that need no secrecy
//
// # Packages
//
// What knows nothing of trackers is in packages under internal/. The first group
// is used by the second group, never the other way round:
//
//	bep15      the packets of BEP 15
//	ipaddr     IP addresses as text
//	textutil   small functions for text
//	suggest    the name that a misspelled name means
//	siphash    the keyed hash of all tables
//	hmac256    HMAC-SHA256 and SHA-256 without allocations
//	prefetch   tells the processor what is read next
//	logger     log lines, and a throttle for what strangers cause
//	buildinfo  the version of a plain go build
//	timer      timers that cost little flash, or wake few threads
//	sys        files, memory and random bytes by system calls
//
//	probe      asks a UDP tracker, as a client does
//	metainfo   .torrent files and magnet links
//	filewatch  reports changes of files and directories
//	procfs     what the kernel counts for this process
//	rtnetlink  interfaces, addresses and routes
//	sdnotify   the state for a service manager
//	udp        batches of datagrams
//	sandbox    takes rights away that the process does not need
//
// # Memory
//
// -memory limits the resident memory of the process. memory_plan divides it: the
// Go runtime, the sockets and the rate limits come first, then the access list.
// The rest is the slab with its tables. The slab is mapped outside the Go heap
// and becomes resident as it fills.
//
// Everything that a packet creates is in the slab or in a table of fixed size.
// The packet path allocates nothing, so the garbage collector is idle until the
// access list is reloaded.
//
// The slab consists of pages of 4 KiB. A page in use belongs to one shard and one
// class. A block is named by a number, its ref. No ref is kept across an unlock,
// so blocks can move together when others are freed. A torrent with up to four
// IPv4 peers is one record of 64 bytes. Larger swarms are trees of leaves: see
// peers.go.
//
// # When memory is full
//
// The slab is full when no page is free and no page of a class has a free block.
// Then:
//
//   - A stored peer is refreshed as before and gets peers.
//   - A new peer gets an answer with peers, but is not stored. Its reply has a
//     shorter interval, so that it returns soon (fullInterval in tracker.go).
//   - A new torrent is not stored. Its first peer gets an answer without peers.
//   - The time to live of peers shrinks from 2.25 to 1.25 intervals while the pool
//     fills from 75 % to 100 % (tracker.ttl). So peers that have left make room
//     sooner. A client that keeps its interval never expires.
//   - A step that would make a swarm larger and finds no block leaves the swarm as
//     it was: insertPeer, splitLeaf and resizeLeaf return false.
//   - One source may use at most 5 % (source_quota.go), so one host cannot fill
//     the store for all others.
//   - The log says when the store becomes full and when it is no longer full. The
//     statistics have the metrics full and announces_total with result full.
//
// # Locks
//
// A shard's lock is held for one announce, or for one page of the sweep. The
// pool's lock may be taken while a shard's lock is held, never the other way
// round. Nothing holds the locks of two shards. Workers share nothing else: each
// has its own cookies, rate limits and counters.
package main
