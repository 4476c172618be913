package main

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/ipaddr"
	"github.com/fabricionaweb/pico-tracker/internal/probe"
	"github.com/fabricionaweb/pico-tracker/internal/textutil"
)

// This file is -probe: it finds the addresses to try and prints the replies.
// Package probe sends the requests.

// maxProbeAddrs is the number of addresses of a name that are tried.
const maxProbeAddrs = 4

var errNotSelf = errors.New("-interface refuses requests from this machine; add lo to it")

// runProbe sends the requests of -probe and prints a line for each reply. It
// tries the addresses of a name until one of them gives a connection ID.
func runProbe(c *config, stdout io.Writer) error {
	addrs, port, err := c.probeTargets()
	failures := ""
	if err != nil {
		failures = ": " + err.Error()
	}
	for i := 0; i < len(addrs) && i < maxProbeAddrs; i++ {
		tracker := ipaddr.Endpoint{Addr: addrs[i], Port: port}
		connected, err := probeTracker(c, tracker, stdout)
		if err == nil {
			return nil
		}
		failures += ": " + tracker.String() + ": " + err.Error()
		if connected {
			break
		}
	}
	return errors.New("probe " + strconv.Quote(c.probe) + failures)
}

// probeTargets returns the addresses to try, at least one, and the port.
func (c *config) probeTargets() ([]ipaddr.Addr, uint16, error) {
	if c.probe == "self" {
		addrs := selfAddrs(c.listen)
		if addrs == nil {
			return nil, 0, errNotSelf
		}
		return addrs, c.port, nil
	}
	host, port, err := splitTarget(c.probe, c.port)
	if err != nil {
		return nil, 0, err
	}
	if addr, ok := ipaddr.Parse(host); ok {
		return []ipaddr.Addr{addr.Unmap()}, port, nil
	}
	addrs, err := probe.LookUp(host)
	return addrs, port, err
}

// selfAddrs returns the addresses at which a tracker with these listen
// addresses gets requests from its own machine. They arrive on the loopback
// interface, except requests to a link-local address. For a wildcard address
// the loopback address is used.
func selfAddrs(listen []ipaddr.Addr) (addrs []ipaddr.Addr) {
	for _, a := range listen {
		linkLocal := a.IsLinkLocal6()
		switch {
		case a.Zone != "" && a.Zone != "lo" && !linkLocal:
			continue
		case a.IsUnspecified() && a.Is6():
			a = ipaddr.Loopback6
		case a.IsUnspecified():
			a = ipaddr.Loopback4
		case !linkLocal:
			a.Zone = ""
		}
		addrs = append(addrs, a)
	}
	return addrs
}

// probeTracker sends all requests to one tracker. It reports whether the
// tracker gave a connection ID.
func probeTracker(c *config, tracker ipaddr.Endpoint, stdout io.Writer) (connected bool, err error) {
	client, err := probe.Dial(tracker)
	if err != nil {
		return false, err
	}
	defer client.Close()
	answered := func(request, text string) error {
		hundredths := int(client.Elapsed() / (10 * time.Microsecond))
		_, err := io.WriteString(stdout, tracker.String()+" answers the "+request+" in "+strconv.Itoa(hundredths/100)+"."+
			strconv.Itoa(hundredths%100 + 100)[1:]+" ms"+text+"\n")
		return err
	}
	if err = client.Connect(); err != nil {
		return false, err
	}
	if err = answered("connect", ""); err != nil {
		return true, err
	}
	if c.probeScrape != nil {
		counts, err := client.Scrape(*c.probeScrape)
		if err == nil {
			err = answered("scrape", ": "+textutil.Count(uint64(counts.Seeders), "seeder")+", "+
				textutil.Count(uint64(counts.Leechers), "leecher")+", "+textutil.Count(uint64(counts.Completed), "download"))
		}
		if err != nil {
			return true, err
		}
	}
	if c.probeAnnounce != nil {
		reply, err := client.Announce(*c.probeAnnounce)
		if err == nil {
			err = answered("announce", ": "+announceText(&reply, tracker.Addr.Is6()))
		}
		// Leave the swarm even after an error, because the tracker may have
		// stored the peer.
		stopErr := client.Stop(*c.probeAnnounce)
		if stopErr == nil {
			stopErr = answered("stop", "")
		}
		if err == nil {
			err = stopErr
		}
		return true, err
	}
	return true, nil
}

// announceText returns the reply to an announce as text, with a line for each
// peer.
func announceText(r *bep15.AnnounceReply, v6 bool) string {
	size := bep15.PeerSize(v6)
	w := textBuilder(textutil.Count(uint64(r.Seeders), "seeder") + ", " + textutil.Count(uint64(r.Leechers), "leecher") + ", ")
	w.add(textutil.Count(uint64(len(r.Peers)/size), "peer"))
	w.add(" given, again in ")
	w.add(ageText(seconds(r.Interval)))
	for peers := r.Peers; len(peers) > 0; peers = peers[size:] {
		port := uint16(peers[size-2])<<8 | uint16(peers[size-1])
		w.add("\n  ")
		w.add(ipaddr.Endpoint{Addr: ipaddr.Addr{IP: string(peers[:size-2])}, Port: port}.String())
	}
	return string(w)
}
