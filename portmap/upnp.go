package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"
)

// This file maps a port by UPnP: WANIPConnection 1 and 2, and WANPPPConnection.

const (
	// maxDocument is the longest answer over HTTP, in bytes.
	maxDocument = 256 << 10
	httpTimeout = 4 * time.Second

	mappingName = "pico-tracker"

	// otherPorts is how many other public ports are tried if the wanted one is
	// taken.
	otherPorts = 8
)

// Error codes of WANIPConnection.
const (
	upnpNotAuthorized       = 606
	upnpNoSuchEntry         = 714
	upnpConflict            = 718
	upnpSamePorts           = 724 // the public port must be the port of the host
	upnpPermanentLeasesOnly = 725
	upnpNoPortMaps          = 728
	upnpOtherMechanism      = 729 // the port is taken by something else than UPnP
)

var upnpErrors = map[int]string{
	401:                "unknown action",
	402:                "invalid arguments",
	501:                "action failed",
	upnpNotAuthorized:  "not authorized",
	upnpConflict:       "the public port is taken",
	upnpSamePorts:      "the public port must be the tracker's port",
	upnpNoPortMaps:     "no more mappings",
	upnpOtherMechanism: "the public port is taken",
}

var (
	errElsewhere   = errors.New("the router's UPnP description leads to another host")
	errNoService   = errors.New("the router has no WANIPConnection service")
	errPortsTaken  = errors.New("the public ports that were tried are all taken")
	errMappingGone = errors.New("the router does not show the mapping that it has just made")
)

// igd is what WANIPConnection 1 and 2 and WANPPPConnection 1 have in common.
type igd interface {
	GetServiceClient() *goupnp.ServiceClient
	GetExternalIPAddressCtx(context.Context) (string, error)
	GetSpecificPortMappingEntryCtx(ctx context.Context, remoteHost string, publicPort uint16, protocol string) (
		port uint16, host string, enabled bool, name string, lease uint32, err error)
	AddPortMappingCtx(ctx context.Context, remoteHost string, publicPort uint16, protocol string,
		port uint16, host string, enabled bool, name string, lease uint32) error
	DeletePortMappingCtx(ctx context.Context, remoteHost string, publicPort uint16, protocol string) error
}

// igd2 is what only WANIPConnection 2 has: the router chooses another port.
type igd2 interface {
	AddAnyPortMappingCtx(ctx context.Context, remoteHost string, publicPort uint16, protocol string,
		port uint16, host string, enabled bool, name string, lease uint32) (uint16, error)
}

// upnp is a mapping by UPnP.
type upnp struct {
	router
	port     uint16 // of this host
	lifetime time.Duration
	now      func() time.Time
	http     *http.Client

	service igd       // nil: not found yet
	mapped  uint16    // public port of the mapping; 0: none
	expires time.Time // of the mapping; zero: never
}

func newUPnP(r router, port uint16, lifetime time.Duration, now func() time.Time) *upnp {
	return &upnp{router: r, port: port, lifetime: lifetime, now: now, http: newHTTPClient(r)}
}

// newHTTPClient returns a client that connects to the gateway only, follows no
// redirect and reads no more than maxDocument bytes.
func newHTTPClient(r router) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: r.local.AsSlice()}, Timeout: httpTimeout}
	transport := &http.Transport{
		Proxy:                  nil,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil || to.Addr().Unmap() != r.gateway {
				return nil, errElsewhere
			}
			return dialer.DialContext(ctx, "tcp4", address)
		},
	}
	return &http.Client{
		Transport:     limitedTransport{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errElsewhere },
		Timeout:       httpTimeout,
	}
}

// limitedTransport limits the length of answers, and permits plain HTTP only.
type limitedTransport struct{ http.RoundTripper }

func (t limitedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "http" {
		return nil, errElsewhere
	}
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, maxDocument), response.Body}
	return response, nil
}

func (u *upnp) request(ctx context.Context, want uint16) (lease, error) {
	l, err := u.renew(ctx, want)
	if err != nil {
		u.service = nil // search again: the router may have changed
	}
	return l, plainUPnP(err)
}

func (u *upnp) renew(ctx context.Context, want uint16) (lease, error) {
	if u.service == nil {
		if err := u.discover(ctx); err != nil {
			return lease{}, err
		}
	}
	text, err := u.service.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return lease{}, err
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		address = netip.IPv4Unspecified() // some routers have an empty text while they are offline
	}
	lost := false
	if u.mapped != 0 {
		state, err := u.look(ctx, u.mapped)
		if err != nil {
			return lease{}, err
		}
		remaining := u.remaining()
		if state == entryOurs && remaining > u.lifetime/2 {
			return lease{public: netip.AddrPortFrom(address.Unmap(), u.mapped), lifetime: remaining}, nil
		}
		lost = state != entryOurs
		want = u.mapped
	}
	if err := u.add(ctx, want); err != nil {
		return lease{}, err
	}
	return lease{public: netip.AddrPortFrom(address.Unmap(), u.mapped), lifetime: u.remaining(), restarted: lost}, nil
}

// remaining is how long the mapping lasts from now on.
func (u *upnp) remaining() time.Duration {
	if u.expires.IsZero() {
		return maxLifetime
	}
	return u.expires.Sub(u.now())
}

// An entryState is what a router says about a public port.
type entryState uint8

const (
	entryFree    entryState = iota // or the router does not tell
	entryOurs                      // leads to our port
	entryForeign                   // leads to another port or host
)

// look asks the router where a public port leads.
func (u *upnp) look(ctx context.Context, public uint16) (entryState, error) {
	port, host, _, _, _, err := u.service.GetSpecificPortMappingEntryCtx(ctx, "", public, "UDP")
	if code := upnpCode(err); code != 0 {
		return entryFree, nil // NoSuchEntry; others mean that the router does not tell
	}
	if err != nil {
		return entryFree, err
	}
	if to, err := netip.ParseAddr(host); err == nil && to.Unmap() == u.local && port == u.port {
		return entryOurs, nil
	}
	return entryForeign, nil
}

// add makes the mapping on the wanted public port, or on another one.
func (u *upnp) add(ctx context.Context, want uint16) error {
	u.mapped = 0
	lifetime := uint32(u.lifetime / time.Second)
	for try := 0; try <= otherPorts; try++ {
		public := want
		if try > 0 {
			public = uint16(minOtherPort + rand.IntN(1<<16-minOtherPort))
		}
		state, err := u.look(ctx, public)
		if err != nil {
			return err
		}
		if state == entryForeign {
			if any, ok := u.service.(igd2); ok {
				got, err := any.AddAnyPortMappingCtx(ctx, "", public, "UDP", u.port, u.local.String(), true, mappingName, lifetime)
				if err == nil && got != 0 {
					return u.added(ctx, got, lifetime)
				}
			}
			continue
		}
		err = u.service.AddPortMappingCtx(ctx, "", public, "UDP", u.port, u.local.String(), true, mappingName, lifetime)
		if upnpCode(err) == upnpPermanentLeasesOnly && lifetime != 0 {
			lifetime = 0
			err = u.service.AddPortMappingCtx(ctx, "", public, "UDP", u.port, u.local.String(), true, mappingName, lifetime)
		}
		switch upnpCode(err) {
		case upnpConflict, upnpOtherMechanism:
			continue
		}
		if err != nil {
			return err
		}
		return u.added(ctx, public, lifetime)
	}
	return errPortsTaken
}

// added checks that the router has the mapping, and remembers it. A router that
// says yes and shows another owner of the port lies.
func (u *upnp) added(ctx context.Context, public uint16, lifetime uint32) error {
	state, err := u.look(ctx, public)
	if err != nil {
		return err
	}
	if state == entryForeign {
		return errMappingGone
	}
	u.mapped, u.expires = public, time.Time{}
	if lifetime != 0 {
		u.expires = u.now().Add(time.Duration(lifetime) * time.Second)
	}
	return nil
}

func (u *upnp) remove(ctx context.Context) error {
	if u.mapped == 0 {
		return nil
	}
	if u.service == nil {
		if err := u.discover(ctx); err != nil {
			return plainUPnP(err)
		}
	}
	err := u.service.DeletePortMappingCtx(ctx, "", u.mapped, "UDP")
	u.mapped = 0
	return plainUPnP(err)
}

// discover finds the service that maps ports.
func (u *upnp) discover(ctx context.Context) error {
	last := errNoAnswer
	found, err := search(ctx, u.router, func(location *url.URL) bool {
		service, err := u.describe(ctx, location)
		if err != nil {
			last = err
			return false
		}
		u.service = service
		return true
	})
	if err != nil {
		return err
	}
	if !found {
		return last
	}
	return nil
}

// describe reads a device description and chooses a service: the first that
// knows a public address, or else the first.
func (u *upnp) describe(ctx context.Context, location *url.URL) (igd, error) {
	root, err := u.fetch(ctx, location)
	if err != nil {
		return nil, err
	}
	services := u.services(root, location)
	if len(services) == 0 {
		return nil, errNoService
	}
	for _, s := range services {
		text, err := s.GetExternalIPAddressCtx(ctx)
		if err != nil {
			continue
		}
		if address, err := netip.ParseAddr(text); err == nil && isPublic(address.Unmap()) {
			return s, nil
		}
	}
	return services[0], nil
}

// fetch reads a device description. goupnp's own function would use one HTTP
// client for the whole process.
func (u *upnp) fetch(ctx context.Context, location *url.URL) (*goupnp.RootDevice, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := u.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("UPnP description: HTTP status %d", response.StatusCode)
	}
	decoder := xml.NewDecoder(response.Body)
	decoder.DefaultSpace = goupnp.DeviceXMLNamespace
	root := new(goupnp.RootDevice)
	if err := decoder.Decode(root); err != nil {
		return nil, fmt.Errorf("UPnP description: %w", err)
	}
	base := location
	if root.URLBaseStr != "" {
		if base, err = url.Parse(root.URLBaseStr); err != nil {
			return nil, fmt.Errorf("UPnP description: %w", err)
		}
	}
	root.SetURLBase(base)
	return root, nil
}

// services returns the clients of a device's services, with our HTTP client.
func (u *upnp) services(root *goupnp.RootDevice, location *url.URL) (all []igd) {
	// The error is that the device does not have the service.
	if clients, err := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, location); err == nil {
		for _, c := range clients {
			all = append(all, c)
		}
	}
	if clients, err := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, location); err == nil {
		for _, c := range clients {
			all = append(all, c)
		}
	}
	if clients, err := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, location); err == nil {
		for _, c := range clients {
			all = append(all, c)
		}
	}
	all = all[:min(len(all), maxDevices)]
	for _, s := range all {
		s.GetServiceClient().SOAPClient.HTTPClient = *u.http
	}
	return all
}

// upnpCode is the error code in a router's answer; 0 if err is no such answer.
func upnpCode(err error) int {
	var fault *soap.SOAPFaultError
	if !errors.As(err, &fault) {
		return 0
	}
	if code := fault.Detail.UPnPError.Errorcode; code != 0 {
		return code
	}
	return -1
}

// plainUPnP translates an error into words.
func plainUPnP(err error) error {
	code := upnpCode(err)
	switch {
	case code == 0:
		return err
	case upnpErrors[code] != "":
		return refusal(upnpErrors[code])
	}
	return refusal(fmt.Sprintf("error %d", code))
}
