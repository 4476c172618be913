package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// This file maps a port by NAT-PMP (RFC 6886).

// natpmpTimeout limits one request. The library repeats it after 250 ms, 500 ms
// and so on.
const natpmpTimeout = 3 * time.Second

// natPMP is a mapping by NAT-PMP.
type natPMP struct {
	router
	port     uint16 // of this host
	lifetime time.Duration
	now      func() time.Time
	epoch    epoch
}

var errNATPMPForeign = errors.New("the NAT-PMP reply is about another port")

func (n *natPMP) client() *natpmp.Client {
	return natpmp.NewClientWithLocalAndTimeout(n.gateway.AsSlice(), n.local.AsSlice(), natpmpTimeout)
}

func (n *natPMP) request(ctx context.Context, want uint16) (lease, error) {
	address, err := inBackground(ctx, n.client().GetExternalAddress)
	if err != nil {
		return lease{}, plainNATPMP(err)
	}
	mapped, err := inBackground(ctx, func() (*natpmp.AddPortMappingResult, error) {
		return n.client().AddPortMapping("udp", int(n.port), int(want), int(n.lifetime/time.Second))
	})
	if err != nil {
		return lease{}, plainNATPMP(err)
	}
	if mapped.InternalPort != n.port {
		return lease{}, errNATPMPForeign
	}
	return lease{
		public:    netip.AddrPortFrom(netip.AddrFrom4(address.ExternalIPAddress), mapped.MappedExternalPort),
		lifetime:  time.Duration(mapped.PortMappingLifetimeInSeconds) * time.Second,
		restarted: n.epoch.restarted(address.SecondsSinceStartOfEpoc, n.now()),
	}, nil
}

func (n *natPMP) remove(ctx context.Context) error {
	_, err := inBackground(ctx, func() (*natpmp.AddPortMappingResult, error) {
		return n.client().AddPortMapping("udp", int(n.port), 0, 0)
	})
	return plainNATPMP(err)
}

// inBackground calls f, which cannot be cancelled, and does not wait for it once
// ctx is done. f ends within natpmpTimeout.
func inBackground[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// plainNATPMP translates an error of the library, which has text only.
func plainNATPMP(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "Timed out"), errors.Is(closedPort(err), errNoAnswer):
		return errNoAnswer
	case strings.HasPrefix(text, "Non-zero result code 1 "), strings.HasPrefix(text, "Non-zero result code 5 "),
		strings.HasPrefix(text, "unknown protocol version"):
		return errUnsupported
	case strings.HasPrefix(text, "Non-zero result code 2 "):
		return refusal("not authorized")
	case strings.HasPrefix(text, "Non-zero result code 3 "):
		return refusal("network failure: the router has no public address now")
	case strings.HasPrefix(text, "Non-zero result code 4 "):
		return refusal("no resources")
	case strings.HasPrefix(text, "Non-zero result code "):
		return refusal("error " + strings.TrimPrefix(text, "Non-zero result code "))
	}
	return err
}
