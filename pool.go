package main

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file has the slab: one preallocated mapping, divided into pages of 4 KiB.
// A page in use is divided into blocks of one size. The pool does not know what
// a block holds.

const (
	granule  = 16   // bytes: blocks begin at multiples of it
	pageSize = 4096 // bytes
	pageUnit = pageSize / granule
)

// seconds is a time since the start of the process, by the monotonic clock.
type seconds uint32

// ref is the number of a block: its distance from the start of the slab in
// granules. 0 is no block, because page 0 is never used. The highest bit is
// free for the owner of a ref, so a slab can have 32 GiB.
type ref uint32

// class is the kind of the blocks of a page. It decides their size.
type class uint8

const (
	classFree    class = iota // the page is not in use
	classTorrent              // torrent records
	classNode                 // inner nodes of large swarms
	classLeaf                 // the smallest of the leaf classes
)

// lineUnits is a cache line in granules: the size of a torrent record and of a
// node.
const lineUnits = 64 / granule

// leafUnits are the sizes of the leaf classes in granules. Each leaves little
// of a page unused. The steps between 512 and 1024 bytes keep large swarms
// packed: the halves of a split leaf start small and grow, so they are never
// half empty.
var leafUnits = [...]uint8{4, 8, 12, 16, 21, 25, 28, 32, 36, 42, 51, 64}

const (
	numLeafClasses = len(leafUnits)
	numClasses     = int(classLeaf) + numLeafClasses
	maxLeaf        = classLeaf + class(numLeafClasses) - 1
)

// units returns the size of a block in granules.
func (c class) units() uint32 {
	if c < classLeaf {
		return lineUnits
	}
	return uint32(leafUnits[c-classLeaf])
}

// page is the pool's record of one page. It has 24 bytes on every processor, so
// the table of pages takes 0.6 % of the slab.
type page struct {
	free       uint64        // a bit for each free block
	next, prev uint32        // neighbours in a list of pages
	owner      atomic.Uint32 // shard and class; 0: not in use
	freed      seconds       // when the page was freed
}

var _ [24]byte = [unsafe.Sizeof(page{})]byte{}

func ownerTag(shard int, c class) uint32 { return uint32(shard)<<8 | uint32(c) }

// blocks returns the number of blocks in a page, at most 64.
func (c class) blocks() uint32 { return pageUnit / c.units() }

// allFree returns the bitmap of a page in which every block is free.
func allFree(c class) uint64 { return ^uint64(0) >> (64 - c.blocks()) }

// pool is the slab. Its lock is the innermost one: it may be taken while a
// shard's lock is held, and it is held for a few instructions.
type pool struct {
	mem   []byte
	pages []page

	mu        sync.Mutex
	unused    uint32 // the first page that was never used
	idle      uint32 // list of free pages that are resident
	released  uint32 // list of free pages that were returned to the system
	cursor    uint32 // where releaseIdle continues
	chunks    []chunk
	nextChunk uint32 // where collapseHuge continues
	used      int    // pages in use
	peak      int    // the largest value of used
	resident  int    // pages in use or idle
}

// chunk is a part of the slab that may become a huge page.
type chunk struct {
	released uint16 // its pages that were returned to the system
	huge     bool
}

// pageBytes is what a page takes together with its record.
const pageBytes = pageSize + int(unsafe.Sizeof(page{}))

// newPool reserves n pages. A page becomes resident when it is first used.
func newPool(n int) (*pool, error) {
	mem, err := sys.Reserve((n + 1) * pageSize)
	if err != nil {
		return nil, err
	}
	table, err := sys.Reserve((n + 1) * int(unsafe.Sizeof(page{})))
	if err != nil {
		return nil, err
	}
	return &pool{
		mem:    mem,
		pages:  unsafe.Slice((*page)(unsafe.Pointer(&table[0])), n+1),
		chunks: make([]chunk, len(mem)/sys.HugePage+2),
		unused: 1,
	}, nil
}

// chunkOf returns the chunk of page i. The first chunk begins where the slab
// begins, the others at multiples of the huge page.
func (p *pool) chunkOf(i uint32) *chunk {
	base := uintptr(unsafe.Pointer(&p.mem[0])) / pageSize
	return &p.chunks[(base+uintptr(i))/chunkPages-base/chunkPages]
}

// chunkPages is the number of pages in a huge page.
const chunkPages = sys.HugePage / pageSize

// collapseHuge makes huge pages of up to n chunks in which every page is
// resident. A large store then has far fewer misses in the processor's address
// caches, and no more memory becomes resident. It reports whether it is worth
// calling again. It must not run at the same time as itself or releaseIdle.
func (p *pool) collapseHuge(n int) bool {
	base := uintptr(unsafe.Pointer(&p.mem[0])) / pageSize
	skip := uint32((chunkPages - base%chunkPages) % chunkPages) // to the first whole chunk
	for ; n > 0; n-- {
		first := skip + p.nextChunk*chunkPages
		if end := p.highWater(); first+chunkPages > end || first+chunkPages > uint32(len(p.pages)) {
			p.nextChunk = 0
			return true
		}
		p.nextChunk++
		p.mu.Lock()
		c := p.chunkOf(first)
		// Page 0 is never resident.
		ready := first > 0 && !c.huge && c.released == 0
		p.mu.Unlock()
		if ready {
			if !sys.CollapseHuge(p.mem[int(first)*pageSize : int(first+chunkPages)*pageSize]) {
				return false
			}
			p.mu.Lock()
			c.huge = true
			p.mu.Unlock()
		}
	}
	return true
}

// capacity returns how many pages can be in use.
func (p *pool) capacity() int { return len(p.pages) - 1 }

// block returns block r as a T. Nothing else reads or writes the slab, except
// copyBlock.
func block[T any](p *pool, r ref) *T {
	return (*T)(unsafe.Pointer(&p.mem[int(r)*granule]))
}

// copyBlock copies block from of class c to block to.
func copyBlock(p *pool, to, from ref, c class) {
	n := int(c.units()) * granule
	copy(p.mem[int(to)*granule:int(to)*granule+n], p.mem[int(from)*granule:int(from)*granule+n])
}

// allocPage takes a page into use. It returns 0 if the pool is full. It prefers
// pages that are resident, so the process never grows beyond its peak.
func (p *pool) allocPage(owner uint32) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.idle
	switch {
	case i != 0:
		p.unlink(&p.idle, i)
	case p.released != 0:
		i = p.released
		p.unlink(&p.released, i)
		p.chunkOf(i).released--
		p.resident++
	case int(p.unused) < len(p.pages):
		i = p.unused
		p.unused++
		p.resident++
	default:
		return 0
	}
	p.used++
	p.peak = max(p.peak, p.used)
	p.pages[i].owner.Store(owner)
	return i
}

// freePage puts a page back.
func (p *pool) freePage(i uint32, now seconds) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pg := &p.pages[i]
	pg.owner.Store(0)
	pg.freed = now
	p.link(&p.idle, i)
	p.used--
}

// link inserts page i at the head of a list.
func (p *pool) link(head *uint32, i uint32) {
	p.pages[i].prev, p.pages[i].next = 0, *head
	if *head != 0 {
		p.pages[*head].prev = i
	}
	*head = i
}

// unlink removes page i from a list.
func (p *pool) unlink(head *uint32, i uint32) {
	pg := &p.pages[i]
	if pg.prev != 0 {
		p.pages[pg.prev].next = pg.next
	} else {
		*head = pg.next
	}
	if pg.next != 0 {
		p.pages[pg.next].prev = pg.prev
	}
}

// fillLevel returns how full the pool is, in parts of 1024.
func (p *pool) fillLevel() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(int64(p.used) * 1024 / int64(p.capacity()))
}

// usage returns how many pages are in use, were in use at the peak, and are
// resident.
func (p *pool) usage() (used, peak, resident int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, p.peak, p.resident
}

// highWater returns the first page that was never used. A walk over all pages
// can stop there.
func (p *pool) highWater() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unused
}

// isIdle reports whether page i is free and resident, and has been for age
// seconds.
func (p *pool) isIdle(i uint32, now, age seconds) bool {
	pg := &p.pages[i]
	// A worker may have freed the page at a later time than now.
	return i < p.unused && pg.owner.Load() == 0 && pg.freed != releasedMark && int32(now-pg.freed) >= int32(age)
}

// noteReleased records that page i was returned to the system. Its chunk is no
// huge page any more.
func (p *pool) noteReleased(i uint32) {
	c := p.chunkOf(i)
	c.released++
	if !c.huge {
		return
	}
	c.huge = false
	base := uintptr(unsafe.Pointer(&p.mem[0])) / pageSize
	first := int(i) - int((base+uintptr(i))%chunkPages)
	sys.SplitHuge(p.mem[first*pageSize : (first+chunkPages)*pageSize])
}

// releasedMark in page.freed marks a page of the released list.
const releasedMark = ^seconds(0)

// releaseIdle returns pages to the system that have been idle for age seconds.
// It handles whole system pages only. It looks at up to n of them and continues
// where it stopped before.
func (p *pool) releaseIdle(now, age seconds, n int) {
	group := uint32(max(1, sys.PageSize/pageSize))
	for ; n > 0; n-- {
		p.mu.Lock()
		first := p.cursor
		if first+group > p.unused || first >= uint32(len(p.pages)) {
			p.cursor = 0
			p.mu.Unlock()
			return
		}
		p.cursor = first + group
		idle := true
		for i := first; i < first+group && idle; i++ {
			// Page 0 is never used.
			idle = i == 0 && group > 1 || i != 0 && p.isIdle(i, now, age)
		}
		if idle {
			for i := first; i < first+group; i++ {
				if i != 0 {
					p.unlink(&p.idle, i)
					p.link(&p.released, i)
					p.pages[i].freed = releasedMark
					p.resident--
					p.noteReleased(i)
				}
			}
			sys.Discard(p.mem[int(first)*pageSize : int(first+group)*pageSize])
		}
		p.mu.Unlock()
	}
}

// arena is one shard's part of the pool: for each class, the list of pages that
// have a free block. The shard's lock guards it.
type arena struct {
	pool    *pool
	shard   int
	partial [numClasses]uint32
	sparse  uint32 // a bit for each class in which blocks were freed
}

// alloc returns a block of class c. The block is not cleared. alloc returns 0
// if the pool is full.
func (a *arena) alloc(c class) ref {
	p := a.pool
	i := a.partial[c]
	if i == 0 {
		if i = p.allocPage(ownerTag(a.shard, c)); i == 0 {
			return 0
		}
		p.pages[i].free = allFree(c)
		p.link(&a.partial[c], i)
	}
	pg := &p.pages[i]
	b := uint32(bits.TrailingZeros64(pg.free))
	pg.free &= pg.free - 1
	if pg.free == 0 {
		p.unlink(&a.partial[c], i)
	}
	return ref(i*pageUnit + b*c.units())
}

// free puts a block back. If the page has no other block in use, the page is
// freed too.
func (a *arena) free(r ref, c class, now seconds) {
	p := a.pool
	i := uint32(r) / pageUnit
	pg := &p.pages[i]
	bit := uint64(1) << (uint32(r) % pageUnit / c.units())
	if pg.owner.Load() != ownerTag(a.shard, c) || pg.free&bit != 0 {
		panic("pool: block freed twice, or by another shard")
	}
	if pg.free == 0 {
		p.link(&a.partial[c], i)
	}
	pg.free |= bit
	if pg.free == allFree(c) {
		p.unlink(&a.partial[c], i)
		p.freePage(i, now)
		return
	}
	a.sparse |= 1 << c
}

// compact empties pages of the sparse classes. Of two pages with free blocks,
// the one with fewer blocks gives its blocks to the other. A class then uses at
// most one page more than it needs.
//
// move must copy a block to a new one from the arena and forget the old one, or
// refuse. It is called at most n times. The caller must not keep a ref across
// the call.
func (a *arena) compact(n int, now seconds, move func(c class, r ref) bool) {
	p := a.pool
	for a.sparse != 0 && n > 0 {
		c := class(bits.TrailingZeros32(a.sparse))
		i := a.partial[c]
		if i == 0 || p.pages[i].next == 0 {
			a.sparse &^= 1 << c
			continue
		}
		if next := p.pages[i].next; bits.OnesCount64(p.pages[next].free) > bits.OnesCount64(p.pages[i].free) {
			i = next
		}
		pg := &p.pages[i]
		p.unlink(&a.partial[c], i) // so that alloc does not take a block of this page
		moved := false
		for used := allFree(c) &^ pg.free; used != 0 && a.partial[c] != 0 && n > 0; used &= used - 1 {
			b := uint32(bits.TrailingZeros64(used))
			n--
			if move(c, ref(i*pageUnit+b*c.units())) {
				pg.free |= 1 << b
				moved = true
			}
		}
		if pg.free == allFree(c) {
			p.freePage(i, now)
			continue
		}
		p.link(&a.partial[c], i)
		if !moved {
			a.sparse &^= 1 << c
		}
	}
}
