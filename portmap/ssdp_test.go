package main

import (
	"net/netip"
	"testing"
)

func TestSearchReply(t *testing.T) {
	gateway := netip.MustParseAddr("192.168.1.1")
	with := func(location string) string {
		return "HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\nLOCATION: " + location + "\r\n\r\n"
	}
	tests := []struct{ name, reply, want string }{
		{name: "good", reply: with("http://192.168.1.1:5000/rootDesc.xml"), want: "http://192.168.1.1:5000/rootDesc.xml"},
		{name: "without port", reply: with("http://192.168.1.1/d"), want: "http://192.168.1.1/d"},
		{name: "another host", reply: with("http://192.168.1.66:5000/rootDesc.xml")},
		{name: "a user that looks like the host", reply: with("http://192.168.1.1@192.168.1.66/")},
		{name: "a name", reply: with("http://router.lan/d")},
		{name: "HTTPS", reply: with("https://192.168.1.1/d")},
		{name: "a file", reply: with("file:///etc/passwd")},
		{name: "no location", reply: "HTTP/1.1 200 OK\r\n\r\n"},
		{name: "an error", reply: "HTTP/1.1 500 No\r\nLOCATION: http://192.168.1.1/\r\n\r\n"},
		{name: "a request", reply: "NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/\r\n\r\n"},
		{name: "no HTTP", reply: "hello"},
		{name: "nothing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if u := parseSearchReply([]byte(test.reply), gateway); u != nil {
				got = u.String()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzSearchReply(f *testing.F) {
	gateway := netip.MustParseAddr("192.168.1.1")
	f.Add([]byte("HTTP/1.1 200 OK\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLOCATION: http://192.168.1.1\r\n\r\nff\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := parseSearchReply(b, gateway)
		if u != nil && (u.Hostname() != "192.168.1.1" && u.Hostname() != "::ffff:192.168.1.1" || u.Scheme != "http") {
			t.Errorf("accepts %s", u)
		}
	})
}
