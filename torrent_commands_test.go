package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// bencoded is a string as a .torrent file has it.
func bencoded(s string) string { return fmt.Sprintf("%d:%s", len(s), s) }

// TestHashCommand checks that each line is an info hash and a comment, and that
// the output is a valid list.
func TestHashCommand(t *testing.T) {
	dir := t.TempDir()
	v1 := "d6:lengthi4700000000e4:name8:disk.iso7:privatei1e6:pieces20:xxxxxxxxxxxxxxxxxxxxe"
	hybrid := "d9:file treed1:ad0:d6:lengthi10eeee6:lengthi10e12:meta versioni2e4:name6:a\n\x1b[1m6:pieces0:e"
	one, both := filepath.Join(dir, "one.torrent"), filepath.Join(dir, "both.torrent")
	writeFile(t, one, "d8:announce"+bencoded("udp://a:1/announce")+"13:announce-listll"+bencoded("udp://a:1/announce")+"el"+bencoded("http://b")+"ee4:info"+v1+"e")
	writeFile(t, both, "d4:info"+hybrid+"e")
	magnet := "magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&dn=linux+live&tr=udp://c:2"
	want := fmt.Sprintf("%x # disk.iso, 4700MB, 1 file, private, udp://a:1/announce, http://b\n", sha1.Sum([]byte(v1))) +
		fmt.Sprintf("%x # \"a\\n\\x1b[1m\", 10B, 1 file\n", sha1.Sum([]byte(hybrid))) +
		fmt.Sprintf("%x # \"a\\n\\x1b[1m\", 10B, 1 file\n", sha256.Sum256([]byte(hybrid))) +
		"0123456789abcdef0123456789abcdef01234567 # linux live, udp://c:2\n"
	code, stdout, stderr := program([]string{"-hash", one, both, magnet}, nil)
	if code != 0 || stdout != want || stderr != "" {
		t.Fatalf("exit %d, %q\ngot\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	l, lines := testList(t, false, 10)
	writeFile(t, l.path, stdout)
	reloadList(l)
	lines.expectLines(t, ": 4 torrents")
}

func TestHashCommandWarns(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.torrent")
	text, _ := torrentText("a") // its tracker is udp://a
	writeFile(t, file, text)
	for url, warns := range map[string]bool{
		"udp://a": false, "UDP://A/announce": false, "udp://a/": false, "udp://a:80": true, "udp://b": true, "http://a": true,
	} {
		code, _, stderr := program([]string{"-announce-url", url, "-hash", file}, nil)
		if want := "[WARN] " + file + ": " + url + " is not among its trackers"; code != 0 || strings.Contains(stderr, want) != warns {
			t.Errorf("%s: exit %d, %q", url, code, stderr)
		}
	}
}

// TestTorrentCommandErrors checks that a file that is no torrent is an error
// and that the other files are used.
func TestTorrentCommandErrors(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.torrent"), filepath.Join(dir, "bad.torrent")
	text, hash := torrentText("a")
	writeFile(t, good, text)
	for _, tt := range []struct{ name, text, want string }{
		{name: "a list", text: digits(1), want: "not a valid .torrent file"},
		{name: "cut", text: text[:20], want: "the .torrent file is incomplete"},
		{name: "without info", text: "d8:announce1:ae", want: "the .torrent file has no info dictionary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			writeFile(t, bad, tt.text)
			code, stdout, stderr := program([]string{"-hash", bad, good}, nil)
			if code != 1 || !strings.Contains(stderr, "[ERROR] "+bad+": "+tt.want) || !strings.HasPrefix(stdout, fmt.Sprintf("%x # a, 1B", hash)) {
				t.Errorf("-hash: exit %d, %q, %q", code, stdout, stderr)
			}
			code, stdout, stderr = program([]string{"-add-tracker", "udp://b", bad}, nil)
			if code != 1 || !strings.Contains(stderr, "[ERROR] "+bad+": "+tt.want) || stdout != "" {
				t.Errorf("-add-tracker: exit %d, %q, %q", code, stdout, stderr)
			}
		})
	}
	for _, name := range []string{filepath.Join(dir, "none"), dir, os.DevNull, "magnet:?dn=x"} {
		if code, _, stderr := program([]string{"-hash", name}, nil); code != 1 || !strings.Contains(stderr, "[ERROR] "+name+": ") {
			t.Errorf("-hash %s: exit %d, %q", name, code, stderr)
		}
	}
	expectUsageError(t, []string{"-hash"}, nil, "-hash: the value is missing")
	expectUsageError(t, []string{"-add-tracker", "udp://a"}, nil, "-add-tracker: the files are missing")
	expectUsageError(t, []string{"-add-tracker", "a:1337", good}, nil, `-add-tracker "a:1337": want the address of a tracker`)
	expectUsageError(t, []string{"-add-tracker", "udp://a b", good}, nil, "want the address of a tracker")
	expectUsageError(t, []string{"-in-place", "-hash", good}, nil, "-in-place needs -add-tracker URL")
	expectUsageError(t, []string{"-announce-url", "udp://a"}, nil, "-announce-url needs -hash FILES")
	expectUsageError(t, []string{"-hash", good, "-add-tracker", "udp://a", good}, nil, "give only one of them")
}

// TestAddTracker checks that the tracker is added behind the others and that no
// other byte changes.
func TestAddTracker(t *testing.T) {
	const url = "udp://new:1337/announce"
	info := "4:infod6:lengthi1e4:name1:a6:pieces20:xxxxxxxxxxxxxxxxxxxxe"
	a, b, added := bencoded("udp://a"), bencoded("http://b"), bencoded(url)
	list := bencoded("announce-list")
	announce := bencoded("announce")
	for _, tt := range []struct{ name, before, after string }{
		{name: "no tracker", before: "d" + info + "e", after: "d" + announce + added + info + "e"},
		{name: "one", before: "d" + announce + a + "7:comment1:x" + info + "e", after: "d" + announce + a + list + "l" + "l" + a + "e" + "l" + added + "e" + "e" + "7:comment1:x" + info + "e"},
		{name: "a list", before: "d" + announce + a + list + "l" + "l" + a + b + "e" + "e" + info + "e", after: "d" + announce + a + list + "l" + "l" + a + b + "e" + "l" + added + "e" + "e" + info + "e"},
		{name: "a list only", before: "d" + list + "ll" + b + "ee" + info + "e", after: "d" + list + "ll" + b + "el" + added + "ee" + info + "e"},
		{name: "an empty list", before: "d" + announce + a + list + "le" + info + "e", after: "d" + announce + a + list + "ll" + a + "el" + added + "ee" + info + "e"},
		{name: "behind the info dictionary", before: "d" + info + announce + a + "e", after: "d" + info + announce + a + list + "ll" + a + "el" + added + "eee"},
		{name: "there already", before: "d" + announce + added + info + "e"},
		{name: "there already, in a list", before: "d" + announce + a + list + "ll" + a + "el" + bencoded("UDP://NEW:1337") + "ee" + info + "e"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.torrent")
			copied := strings.TrimSuffix(file, ".torrent") + ".new.torrent"
			if err := os.WriteFile(file, []byte(tt.before), 0o640); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := program([]string{"-add-tracker", url, file}, nil)
			if tt.after == "" {
				if code != 0 || stdout != file+": has this tracker already\n" || stderr != "" {
					t.Errorf("exit %d, %q, %q", code, stdout, stderr)
				}
				return
			}
			if code != 0 || stdout != copied+": written\n" || stderr != "" {
				t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
			}
			expectFile(t, copied, tt.after, 0o640)
			expectFile(t, file, tt.before, 0o640)
			// A copy does not replace anything.
			code, _, stderr = program([]string{"-add-tracker", url, file}, nil)
			if code != 1 || !strings.Contains(stderr, copied+": file exists") {
				t.Errorf("again: exit %d, %q", code, stderr)
			}
			if code, _, stderr := program([]string{"-add-tracker", url, "-i", file}, nil); code != 0 || stderr != "" {
				t.Errorf("in place: exit %d, %q", code, stderr)
			}
			expectFile(t, file, tt.after, 0o640)
			if code, stdout, _ := program([]string{"-add-tracker", url, "-i", file}, nil); code != 0 || !strings.Contains(stdout, "has this tracker already") {
				t.Errorf("in place again: exit %d, %q", code, stdout)
			}
		})
	}
	// A list that is no list of lists of strings is left alone.
	file := filepath.Join(t.TempDir(), "x.torrent")
	writeFile(t, file, "d"+announce+a+list+"1:x"+info+"e")
	if code, _, stderr := program([]string{"-add-tracker", url, "-i", file}, nil); code != 1 || !strings.Contains(stderr, "announce-list is malformed") {
		t.Errorf("malformed: exit %d, %q", code, stderr)
	}
}

// TestAddTrackerFollowsLinks checks that the file changes which a symbolic link
// names, and that the link stays.
func TestAddTrackerFollowsLinks(t *testing.T) {
	const url = "udp://new:1337"
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "real", "x.torrent")
	relative, absolute, chain := filepath.Join(dir, "relative.torrent"), filepath.Join(dir, "absolute.torrent"), filepath.Join(dir, "chain.torrent")
	for link, target := range map[string]string{relative: filepath.Join("real", "x.torrent"), absolute: file, chain: "relative.torrent"} {
		if err := os.Symlink(target, link); err != nil {
			t.Skip(err) // Windows needs a right for this
		}
	}
	before, _ := torrentText("a")
	for _, name := range []string{relative, absolute, chain, file} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			writeFile(t, file, before)
			code, stdout, stderr := program([]string{"-add-tracker", url, "-i", name}, nil)
			if code != 0 || stdout != name+": written\n" || stderr != "" {
				t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
			}
			got, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(got), url) {
				t.Errorf("%s: %v, got %q, want %s in it", file, err, got, url)
			}
			fi, err := os.Lstat(name)
			if isLink := err == nil && fi.Mode()&os.ModeSymlink != 0; err != nil || isLink != (name != file) {
				t.Errorf("%s: %v, is a link: %v, want %v", name, err, isLink, name != file)
			}
		})
	}
}

// TestAddTrackerQuotes checks that the name of a file cannot steer the terminal.
func TestAddTrackerQuotes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file cannot have this name")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "\x1b[2Jx.torrent")
	text, _ := torrentText("a")
	writeFile(t, name, text)
	for _, c := range []struct{ name, url, want string }{
		{name: "written", url: "udp://b", want: "\"" + dir + "/\\x1b[2Jx.new.torrent\": written\n"},
		{name: "there already", url: "udp://a", want: "\"" + dir + "/\\x1b[2Jx.torrent\": has this tracker already\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, stdout, stderr := program([]string{"-add-tracker", c.url, name}, nil); code != 0 || stdout != c.want || stderr != "" {
				t.Errorf("exit %d, %q, got %q, want %q", code, stderr, stdout, c.want)
			}
		})
	}
}

func expectFile(t *testing.T, path, want string, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s:\ngot  %q\nwant %q", path, got, want)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != mode {
		t.Errorf("%s: mode %v, %v, want %v", path, fi.Mode(), err, mode)
	}
}

// TestReplaceFails checks that no new file stays if it cannot take the place of the
// other, which here is a directory.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	name, to := filepath.Join(dir, "name"), filepath.Join(dir, "new")
	mkdir(t, name)
	if err := replaceContent(name, to, []byte("x"), true); err == nil {
		t.Error("a file took the place of a directory")
	}
	if _, err := os.Stat(to); !os.IsNotExist(err) {
		t.Errorf("the new file: got %v, want that it is removed", err)
	}
}
