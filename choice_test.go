package main

import (
	"fmt"
	"testing"
)

// of is the first index of a scope's peers in scopedKey4 and scopedKey6.
var of = map[scope]int{scopeGlobal: 0, scopePrivate: 1 << 8, scopeHost: 2 << 8, scopeLink: 3 << 8}

// TestMixedSets checks that a set becomes mixed and uniform again without
// losing a peer, in every layout and with hashes that always collide.
func TestMixedSets(t *testing.T) {
	for _, weak := range []uint64{0, ^uint64(0)} {
		for first := range numScopes {
			for second := range numScopes {
				if first != second && !(testing.Short() && second != (first+1)%numScopes) {
					t.Run(fmt.Sprintf("weak=%x/%d,%d", weak, first, second), func(t *testing.T) {
						t.Parallel()
						mixedSets(t, weak, first, second)
					})
				}
			}
		}
	}
}

func mixedSets(t *testing.T, weak uint64, first, second scope) {
	const many = 256
	c := newChecker(t, 400, 1, weak)
	c.scoped, c.outside, c.every = true, testOutside, 97
	some := func(s scope, from, to int, stopped bool) {
		for i := of[s] + from; i < of[s]+to; i++ {
			check(c, testHash(0), scopedKey4(i), 0, stopped, i%7)
			check(c, testHash(0), scopedKey6(i), 0, stopped, i%7)
		}
	}
	for _, few := range []int{1, 110, many} {
		some(first, 0, many, false)
		some(second, 0, few, false)
		some(first, 20, many, true) // the rest fits into a leaf
		some(first, 20, 60, false)
		some(second, 0, few-1, true)
		some(first, 0, many, false)
		some(second, 0, few, true)
		if got := c.s.scrape(testHash(0)); got.leechers != c.m.torrents[*testHash(0)].census().leechers {
			t.Fatalf("%d leechers", got.leechers)
		}
		some(first, 0, many-1, true)
		some(first, 0, many, true)
		if c.s.pool.used != 0 {
			t.Fatalf("%d pages left", c.s.pool.used)
		}
	}
}
