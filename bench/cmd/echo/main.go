// Echo has the sockets of Pico Tracker, and sends replies of a fixed size without
// looking at the requests. The home benchmark shows with it what the tracker
// itself costs, apart from the kernel and the Go runtime.
package main

import (
	"flag"
	"log"

	"github.com/fabricionaweb/pico-tracker/internal/bep15"
	"github.com/fabricionaweb/pico-tracker/internal/udp"
)

func main() {
	port := flag.Uint("p", 1337, "port")
	v6 := flag.Bool("6", false, "listen on IPv6 instead of IPv4")
	size := flag.Int("a", 320, "bytes of a reply to an announce")
	flag.Parse()

	ip := make([]byte, 4)
	if *v6 {
		ip = make([]byte, 16)
	}
	s, err := udp.Open(udp.Config{IP: string(ip), Port: uint16(*port), Batch: udp.MaxBatch,
		Sizes: udp.Sizes{MaxRequest: 2048, MaxReply: 2048}})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(s.Serve(func(n int) {
		for i := range n {
			req, reply := s.Request(i), s.Buffer(i)[:*size]
			copy(reply, req[8:bep15.HeaderSize]) // action and transaction ID
			if bep15.Action(req) == bep15.ActionConnect {
				reply = reply[:bep15.ConnectSize]
				copy(reply[8:], "echo ID.")
			}
			s.Reply(i, reply)
		}
		s.Flush(n)
	}))
}
