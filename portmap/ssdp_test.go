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
		{"good", with("http://192.168.1.1:5000/rootDesc.xml"), "http://192.168.1.1:5000/rootDesc.xml"},
		{"without port", with("http://192.168.1.1/d"), "http://192.168.1.1/d"},
		{"another host", with("http://192.168.1.66:5000/rootDesc.xml"), ""},
		{"a user that looks like the host", with("http://192.168.1.1@192.168.1.66/"), ""},
		{"a name", with("http://router.lan/d"), ""},
		{"HTTPS", with("https://192.168.1.1/d"), ""},
		{"a file", with("file:///etc/passwd"), ""},
		{"no location", "HTTP/1.1 200 OK\r\n\r\n", ""},
		{"an error", "HTTP/1.1 500 No\r\nLOCATION: http://192.168.1.1/\r\n\r\n", ""},
		{"a request", "NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/\r\n\r\n", ""},
		{"no HTTP", "hello", ""},
		{"nothing", "", ""},
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
