// Command anacrolix runs torrents on github.com/anacrolix/torrent until SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/anacrolix/torrent"
	"github.com/anacrolix/torrent/storage"
)

func main() {
	dir := flag.String("dir", "", "directory of the files")
	port := flag.Int("port", 0, "port for peers")
	version := flag.Bool("version", false, "print the version of the library")
	flag.Parse()
	if *version {
		printVersion()
		return
	}
	if err := run(*dir, *port, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// printVersion prints the version of the library.
func printVersion() {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/anacrolix/torrent" {
			fmt.Println(module.Version)
		}
	}
}

// run downloads and seeds the sources, each a .torrent file or a magnet link.
func run(dir string, port int, sources []string) error {
	config := torrent.NewDefaultClientConfig()
	config.ListenPort = port
	config.Seed = true
	config.NoDHT = true
	config.DisablePEX = true
	config.DisableUTP = true
	config.NoDefaultPortForwarding = true
	// With the default of 1 MiB an upload to libtorrent hangs after 1.4 MB.
	config.MaxAllocPeerRequestDataPerConn = 16 << 20
	config.DefaultStorage = storage.NewFileWithCompletion(dir, storage.NewMapPieceCompletion())
	client, err := torrent.NewClient(config)
	if err != nil {
		return err
	}
	for _, source := range sources {
		t, err := add(client, source)
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		go func() {
			<-t.GotInfo()
			// The files may be here already.
			if err := t.VerifyDataContext(context.Background()); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			t.DownloadAll()
		}()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	// Close does not wait until the stopped events are sent.
	for _, err := range client.Close() {
		fmt.Fprintln(os.Stderr, err)
	}
	return nil
}

func add(client *torrent.Client, source string) (*torrent.Torrent, error) {
	if strings.HasPrefix(source, "magnet:") {
		return client.AddMagnet(source)
	}
	return client.AddTorrentFromFile(source)
}
