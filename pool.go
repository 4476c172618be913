package main

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file owns the slab: 4 KiB pages of one preallocated mapping, lent to
// size classes while they are in use. It does not know what a block holds.

const (
	granule  = 16   // bytes: the granularity of a ref
	pageSize = 4096 // bytes: what moves between the pool and a size class
	pageUnit = pageSize / granule
)

// seconds is a time since the start of the process, by the monotonic clock.
type seconds uint32

// ref names a block by its distance from the start of the slab, in units. 0 is
// no block: page 0 is never lent. The highest bit is for the owner's use, so
// that a slab can have 32 GiB.
type ref uint32

// class is what the blocks of a page are for, and so how large they are.
type class uint8

const (
	classFree    class = iota // the page is with the pool
	classTorrent              // torrent records
	classNode                 // inner nodes of large swarms
	classLeaf                 // the smallest of the leaf classes
)

// lineUnits is a cache line: what a torrent record and a node take.
const lineUnits = 64 / granule

// leafUnits are the sizes of the leaf classes in units, each chosen to leave
// little of a page over. The steps between 512 and 1024 bytes are what keeps a
// large swarm packed: the halves of a split leaf start small and grow, instead
// of standing half empty.
var leafUnits = [...]uint8{4, 8, 12, 16, 21, 25, 28, 32, 36, 42, 51, 64}

const (
	numLeafClasses = len(leafUnits)
	numClasses     = int(classLeaf) + numLeafClasses
	maxLeaf        = classLeaf + class(numLeafClasses) - 1
)

// units is the size of a block of class c.
func (c class) units() uint32 {
	if c < classLeaf {
		return lineUnits
	}
	return uint32(leafUnits[c-classLeaf])
}

// page is what the pool knows of one page. 24 bytes on every processor, so
// that the table of pages takes 0.6 % of the slab.
type page struct {
	free       uint64        // the blocks that are free, a bit each
	next, prev uint32        // neighbours in a list of pages
	owner      atomic.Uint32 // shard and class; 0 while the page is with the pool
	freed      seconds       // when the page came back to the pool
}

var _ [24]byte = [unsafe.Sizeof(page{})]byte{}

func ownerTag(shard int, c class) uint32 { return uint32(shard)<<8 | uint32(c) }

// blocks is how many blocks of class c a page has, 64 at the most.
func (c class) blocks() uint32 { return pageUnit / c.units() }

// allFree is the bitmap of a page of class c without a block in use.
func allFree(c class) uint64 { return ^uint64(0) >> (64 - c.blocks()) }

// pool is the slab. Its lock is the innermost one: whoever holds a shard's
// lock may take it, and it is held for a few instructions.
type pool struct {
	mem   []byte
	pages []page

	mu        sync.Mutex
	unused    uint32 // pages from here on were never used
	idle      uint32 // list of returned pages that are still resident
	released  uint32 // list of returned pages that the system has back
	cursor    uint32 // where the next release goes on
	chunks    []chunk
	nextChunk uint32 // the chunk to look at next for a huge page
	used      int    // pages lent
	peak      int    // the most that were ever lent at once
	resident  int    // pages lent or warm
}

// chunk is a part of the slab that may become a huge page.
type chunk struct {
	released uint16 // pages of it that the system has back
	huge     bool
}

// pageBytes is what a page costs in all.
const pageBytes = pageSize + int(unsafe.Sizeof(page{}))

// newPool reserves n pages. Nothing is resident until it is used.
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

// chunkOf is the chunk of page i. The first begins where the slab does, the
// others at multiples of the huge page.
func (p *pool) chunkOf(i uint32) *chunk {
	base := uintptr(unsafe.Pointer(&p.mem[0])) / pageSize
	return &p.chunks[(base+uintptr(i))/chunkPages-base/chunkPages]
}

// chunkPages is how many pages of the pool a huge page has.
const chunkPages = sys.HugePage / pageSize

// collapseHuge makes huge pages of up to n chunks of which every page is resident:
// a large store then misses the processor's address caches far less, and
// nothing becomes resident that was not. Only one may call it or release at a
// time. It says whether it is worth calling again.
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

// capacity is how many pages can be lent.
func (p *pool) capacity() int { return len(p.pages) - 1 }

// block is the block r as a T: the only way into the slab.
func block[T any](p *pool, r ref) *T {
	return (*T)(unsafe.Pointer(&p.mem[int(r)*granule]))
}

// copyBlock copies block from of class c to block to.
func copyBlock(p *pool, to, from ref, c class) {
	n := int(c.units()) * granule
	copy(p.mem[int(to)*granule:int(to)*granule+n], p.mem[int(from)*granule:int(from)*granule+n])
}

// allocPage lends a page. It returns 0 when the pool is full. Pages that are
// resident already come first, so that the process is never larger than what
// it held at its peak.
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

// freePage takes a page back.
func (p *pool) freePage(i uint32, now seconds) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pg := &p.pages[i]
	pg.owner.Store(0)
	pg.freed = now
	p.link(&p.idle, i)
	p.used--
}

// link puts page i at the head of a list.
func (p *pool) link(head *uint32, i uint32) {
	p.pages[i].prev, p.pages[i].next = 0, *head
	if *head != 0 {
		p.pages[*head].prev = i
	}
	*head = i
}

// unlink takes page i out of a list.
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

// fillLevel is how many of 1024 parts of the pool are lent.
func (p *pool) fillLevel() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(int64(p.used) * 1024 / int64(p.capacity()))
}

// usage is how many pages are lent, were lent at the most, and are resident.
func (p *pool) usage() (used, peak, resident int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, p.peak, p.resident
}

// highWater is the first page that was never lent: where a walk over all may stop.
func (p *pool) highWater() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unused
}

// isIdle says that page i is resident, with the pool, and has been for age
// seconds.
func (p *pool) isIdle(i uint32, now, age seconds) bool {
	pg := &p.pages[i]
	// Who freed it may have seen a later time than now.
	return i < p.unused && pg.owner.Load() == 0 && pg.freed != releasedMark && int32(now-pg.freed) >= int32(age)
}

// noteReleased notes that the system has page i back, and that its chunk is no huge
// page any more.
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

// releasedMark in page.freed says that the page is on the cold list.
const releasedMark = ^seconds(0)

// release returns pages that have been idle for age seconds to the system,
// whole system pages only. It looks at up to n system pages from where it
// stopped before.
func (p *pool) release(now, age seconds, n int) {
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
			// Page 0 is never lent and never touched.
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

// arena is one shard's use of the pool: for each class the pages that have a
// free block. Its owner's lock guards it.
type arena struct {
	pool    *pool
	shard   int
	partial [numClasses]uint32
	sparse  uint32 // classes, a bit each, that have given blocks back
}

// alloc returns a block of class c with whatever was in it, or 0 when the
// pool is full.
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

// release gives a block back, and its page too when it was the last one.
func (a *arena) release(r ref, c class, now seconds) {
	p := a.pool
	i := uint32(r) / pageUnit
	pg := &p.pages[i]
	bit := uint64(1) << (uint32(r) % pageUnit / c.units())
	if pg.owner.Load() != ownerTag(a.shard, c) || pg.free&bit != 0 {
		panic("pool: block released twice, or by another than its owner")
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

// compact empties the pages of loose classes: of two that have free blocks,
// the emptier gives its blocks to the other, so that what a class holds is no
// more than a page above what it needs. move must copy a block to one that it
// takes from the arena and forget the old one, or refuse; it is called at most
// n times. Whoever calls may hold no reference to a block across it.
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
		p.unlink(&a.partial[c], i) // or what leaves would come back
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
