package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const deviceDescription = `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">%s<device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device><deviceList><device>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:%d</serviceType>
<controlURL>%s</controlURL></service></serviceList></device></deviceList></device></deviceList></device></root>`

// soapReply is what a router sends in reply to an action.
func soapReply(service int, action, arguments string) string {
	return fmt.Sprintf(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`+
		`<u:%[2]sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:%[1]d">%[3]s</u:%[2]sResponse></s:Body></s:Envelope>`,
		service, action, arguments)
}

func soapFault(code int) string {
	return fmt.Sprintf(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>`+
		`<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">`+
		`<errorCode>%d</errorCode><errorDescription>no</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`, code)
}

// A fakeIGD is a router's UPnP service on loopback. Its fields say how it
// behaves; entries are its mappings.
type fakeIGD struct {
	*httptest.Server
	service       int    // version of WANIPConnection
	public        string // what it says its address is
	urlBase       string
	control       string
	permanentOnly bool
	refuse        int // code for each request to map a port
	entries       map[string]string
	asked         []string
}

func newFakeIGD(t *testing.T, service int) *fakeIGD {
	g := &fakeIGD{service: service, public: "203.0.113.7", control: "/ctl", entries: map[string]string{}}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

// between returns the text of an XML element.
func between(body, element string) string {
	_, rest, _ := strings.Cut(body, "<"+element+">")
	value, _, _ := strings.Cut(rest, "</"+element+">")
	return value
}

func (g *fakeIGD) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		base := ""
		if g.urlBase != "" {
			base = "<URLBase>" + g.urlBase + "</URLBase>"
		}
		fmt.Fprintf(w, deviceDescription, base, g.service, g.control)
		return
	}
	body, _ := io.ReadAll(r.Body)
	_, action, _ := strings.Cut(strings.Trim(r.Header.Get("Soapaction"), `"`), "#")
	g.asked = append(g.asked, action)
	port := between(string(body), "NewExternalPort")
	owner := between(string(body), "NewInternalClient") + ":" + between(string(body), "NewInternalPort")
	fault := func(code int) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, soapFault(code))
	}
	switch action {
	case "GetExternalIPAddress":
		io.WriteString(w, soapReply(g.service, action, "<NewExternalIPAddress>"+g.public+"</NewExternalIPAddress>"))
	case "GetSpecificPortMappingEntry":
		host, internal, ok := strings.Cut(g.entries[port], ":")
		if !ok {
			fault(upnpNoSuchEntry)
			return
		}
		io.WriteString(w, soapReply(g.service, action, "<NewInternalPort>"+internal+"</NewInternalPort><NewInternalClient>"+host+
			"</NewInternalClient><NewEnabled>1</NewEnabled><NewPortMappingDescription>x</NewPortMappingDescription><NewLeaseDuration>0</NewLeaseDuration>"))
	case "AddPortMapping":
		switch {
		case g.refuse != 0:
			fault(g.refuse)
		case g.permanentOnly && between(string(body), "NewLeaseDuration") != "0":
			fault(upnpPermanentLeasesOnly)
		default:
			g.entries[port] = owner
			io.WriteString(w, soapReply(g.service, action, ""))
		}
	case "AddAnyPortMapping":
		g.entries["50000"] = owner
		io.WriteString(w, soapReply(g.service, action, "<NewReservedPort>50000</NewReservedPort>"))
	case "DeletePortMapping":
		delete(g.entries, port)
		io.WriteString(w, soapReply(g.service, action, ""))
	default:
		fault(401)
	}
}

// client is a mapping by this router.
func (g *fakeIGD) client(t *testing.T) *upnp {
	t.Helper()
	loopback := netip.MustParseAddr("127.0.0.1")
	u := newUPnP(router{gateway: loopback, local: loopback}, 1337, time.Hour, time.Now)
	location, err := url.Parse(g.URL + "/rootDesc.xml")
	if err != nil {
		t.Fatal(err)
	}
	u.service, err = u.describe(context.Background(), location)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUPnP(t *testing.T) {
	tests := []struct {
		name    string
		service int
		change  func(*fakeIGD)
		port    uint16 // 0: any other than 1337
		err     error
	}{
		{name: "IGD 1", service: 1, change: func(*fakeIGD) {}, port: 1337},
		{name: "IGD 2", service: 2, change: func(*fakeIGD) {}, port: 1337},
		{name: "permanent leases only", service: 1, change: func(g *fakeIGD) { g.permanentOnly = true }, port: 1337},
		{name: "left from the last run", service: 1, change: func(g *fakeIGD) { g.entries["1337"] = "127.0.0.1:1337" }, port: 1337},
		{name: "port taken, IGD 1", service: 1, change: func(g *fakeIGD) { g.entries["1337"] = "192.168.1.9:1337" }, port: 0},
		{name: "port taken, IGD 2", service: 2, change: func(g *fakeIGD) { g.entries["1337"] = "192.168.1.9:1337" }, port: 50000},
		{name: "port taken by this host", service: 1, change: func(g *fakeIGD) { g.entries["1337"] = "127.0.0.1:9" }, port: 0},
		{name: "all ports taken", service: 1, change: func(g *fakeIGD) { g.refuse = upnpConflict }, port: 0, err: errPortsTaken},
		{name: "refuses", service: 1, change: func(g *fakeIGD) { g.refuse = upnpNotAuthorized }, port: 0, err: refusal("not authorized")},
		{name: "unknown error", service: 2, change: func(g *fakeIGD) { g.refuse = 899 }, port: 0, err: refusal("error 899")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newFakeIGD(t, test.service)
			test.change(g)
			u := g.client(t)
			l, err := u.request(context.Background(), 1337)
			if !errors.Is(err, test.err) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if test.err != nil {
				return
			}
			port := l.public.Port()
			if test.port != 0 && port != test.port || test.port == 0 && port < minOtherPort {
				t.Errorf("public port: got %d, want %d", port, test.port)
			}
			if got := l.public.Addr().String(); got != g.public {
				t.Errorf("public address: got %s, want %s", got, g.public)
			}
			if err := l.check(); err != nil {
				t.Error(err)
			}
			if err := u.remove(context.Background()); err != nil {
				t.Error(err)
			}
			if owner := g.entries[fmt.Sprint(port)]; owner != "" {
				t.Errorf("port %d still leads to %s after remove", port, owner)
			}
		})
	}
}

// A renewal only looks at the mapping, until half of its time is over or the
// router has lost it.
func TestUPnPRenewal(t *testing.T) {
	g := newFakeIGD(t, 1)
	u := g.client(t)
	now := time.Unix(1000, 0)
	u.now = func() time.Time { return now }
	tests := []struct {
		name      string
		before    func()
		adds      bool
		restarted bool
	}{
		{name: "first", before: func() {}, adds: true},
		{name: "soon after", before: func() { now = now.Add(time.Minute) }},
		{name: "half of the time is over", before: func() { now = now.Add(30 * time.Minute) }, adds: true},
		{name: "the router restarted", before: func() { delete(g.entries, "1337") }, adds: true, restarted: true},
	}
	for _, test := range tests {
		test.before()
		g.asked = nil
		l, err := u.request(context.Background(), 1337)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := strings.Contains(strings.Join(g.asked, " "), "AddPortMapping"); got != test.adds {
			t.Errorf("%s: asked %v; want AddPortMapping: %v", test.name, g.asked, test.adds)
		}
		if l.restarted != test.restarted {
			t.Errorf("%s: restarted: got %v, want %v", test.name, l.restarted, test.restarted)
		}
	}
}

// A description cannot make the program connect to another host.
func TestUPnPElsewhere(t *testing.T) {
	var visits atomic.Int32
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip(err) // only Linux has all of 127.0.0.0/8
	}
	victim := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { visits.Add(1) })}}
	victim.Start()
	defer victim.Close()
	tests := []struct {
		name   string
		change func(*fakeIGD)
	}{
		{"URLBase", func(g *fakeIGD) { g.urlBase = victim.URL }},
		{"control URL", func(g *fakeIGD) { g.control = victim.URL + "/ctl" }},
		{"a name", func(g *fakeIGD) { g.control = "http://localhost:1/ctl" }},
		{"HTTPS", func(g *fakeIGD) { g.control = "https://127.0.0.1:1/ctl" }},
		{"a redirect", func(g *fakeIGD) {
			g.Config.Handler = http.RedirectHandler(victim.URL, http.StatusTemporaryRedirect)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newFakeIGD(t, 1)
			test.change(g)
			loopback := netip.MustParseAddr("127.0.0.1")
			u := newUPnP(router{gateway: loopback, local: loopback}, 1337, time.Hour, time.Now)
			location, err := url.Parse(g.URL)
			if err != nil {
				t.Fatal(err)
			}
			service, err := u.describe(context.Background(), location)
			if err == nil {
				u.service = service
				_, err = u.request(context.Background(), 1337)
			}
			if err == nil || !strings.Contains(err.Error(), errElsewhere.Error()) {
				t.Errorf("got error %v, want %v", err, errElsewhere)
			}
		})
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the other host was asked %d times, want 0", n)
	}
}

// An answer without an end is cut.
func TestUPnPLongAnswer(t *testing.T) {
	g := newFakeIGD(t, 1)
	u := g.client(t)
	g.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		filler := strings.Repeat("<a>", 4096)
		for range 1000 {
			if _, err := io.WriteString(w, filler); err != nil {
				return
			}
		}
	})
	if _, err := u.request(context.Background(), 1337); err == nil {
		t.Error("got no error for an answer of 12 MB")
	}
}

// A hostileTransport answers each request with the next document.
type hostileTransport struct {
	t         *testing.T
	documents [][]byte
}

func (h *hostileTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if len(h.documents) == 0 {
		return nil, io.EOF
	}
	document := h.documents[0]
	h.documents = h.documents[1:]
	return &http.Response{StatusCode: 200, Request: request, Body: io.NopCloser(strings.NewReader(string(document))), ContentLength: -1}, nil
}

// No description and no answer makes the program panic or believe nonsense.
func FuzzUPnP(f *testing.F) {
	description := []byte(fmt.Sprintf(deviceDescription, "", 1, "/ctl"))
	f.Add(description, []byte(soapReply(1, "GetExternalIPAddress", "<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>")), []byte(soapFault(714)))
	f.Add(description, []byte(soapFault(606)), []byte(soapReply(2, "AddPortMapping", "")))
	f.Add([]byte("<root><device>"), []byte("<"), []byte(""))
	f.Fuzz(func(t *testing.T, description, first, second []byte) {
		h := &hostileTransport{t: t, documents: [][]byte{description, first, first, second, second, first, second, second}}
		u := newUPnP(testRouter, 1337, time.Hour, time.Now)
		u.http = &http.Client{Transport: limitedTransport{h}}
		service, err := u.describe(context.Background(), &url.URL{Scheme: "http", Host: "192.168.1.1", Path: "/"})
		if err != nil {
			return
		}
		u.service = service
		l, err := u.request(context.Background(), 1337)
		if err == nil && l.check() == nil && !isPublic(l.public.Addr()) {
			t.Errorf("accepts %v", l.public)
		}
	})
}
