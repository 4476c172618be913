package packaging

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Each shell has its own terminal, and the completion of the .deb.
var shells = map[string]struct {
	args  []string
	setUp string
}{
	"bash": {[]string{"bash", "--norc", "--noprofile", "-i"}, "source $PWD/completion/pico-tracker.bash; bind 'set bell-style none'"},
	"zsh":  {[]string{"zsh", "-f", "-i"}, "unsetopt beep; fpath=($PWD/completion $fpath); autoload -Uz compinit; compinit -D -u"},
}

// TestCompletion types on the terminal of a real shell, and reads the completed
// command line.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "pico-tracker"), ".")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "torrents of mine.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ typed, want string }{
		{"-wor\t", "-workers"},
		{"-debug -probe-sc\t", "-debug -probe-scrape"},
		{"-p 1 -w " + dir + "/torr\t", "-p 1 -w " + dir + "/torrents of mine.txt"},
		{"-whitelist=" + dir + "/torr\t", "-whitelist=" + dir + "/torrents of mine.txt"},
		{"-memory 25\t", "-memory 256M"},
		{"-interval 3\t", "-interval 30m"},
		{"-scope o\t", "-scope off"},
		{"-no-such-fl\t", "-no-such-fl"},
	}
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, name, "script")
			sh := newTerminal(t, dir, shell.args)
			sh.enter(shell.setUp + "; print_it ready")
			sh.await(regexp.MustCompile("<<(ready)>>"))
			for _, c := range cases {
				// To the beginning of the line: the command is printed
				// instead of run.
				sh.enter("pico-tracker " + c.typed + "\x01print_it ")
				got := sh.await(regexp.MustCompile(`<<pico-tracker (.*?) ?>>`))
				if got != c.want {
					t.Errorf("%q becomes %q, want %q", c.typed, got, c.want)
				}
			}
		})
	}
}

// terminal is an interactive shell.
type terminal struct {
	*testing.T
	in   io.Writer
	out  chan []byte
	seen []byte
}

func newTerminal(t *testing.T, dir string, args []string) *terminal {
	cmd := exec.Command("script", "-qefc", strings.Join(args, " "), "/dev/null")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "TERM=dumb", "PS1=> ", "COLUMNS=500", "HOME="+dir, "EDITOR=emacs", "VISUAL=")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sh := &terminal{T: t, in: in, out: make(chan []byte)}
	done := make(chan struct{})
	go func() {
		defer close(sh.out)
		for {
			b := make([]byte, 4096)
			n, err := out.Read(b)
			if err != nil {
				return
			}
			select {
			case sh.out <- b[:n]:
			case <-done:
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	sh.enter(`print_it() { printf '<<%s>>\n' "$*"; }; stty cols 500`)
	return sh
}

func (sh *terminal) enter(line string) {
	sh.Helper()
	if _, err := io.WriteString(sh.in, line+"\r"); err != nil {
		sh.Fatal(err)
	}
}

// await reads until the pattern appears, and drops the text up to it.
func (sh *terminal) await(pattern *regexp.Regexp) string {
	sh.Helper()
	deadline := time.After(30 * time.Second)
	for {
		if at := pattern.FindSubmatchIndex(sh.seen); at != nil {
			found := string(sh.seen[at[2]:at[3]])
			sh.seen = sh.seen[at[1]:]
			return found
		}
		select {
		case b, ok := <-sh.out:
			if !ok {
				sh.Fatalf("the shell has ended: %q", sh.seen)
			}
			sh.seen = append(sh.seen, b...)
		case <-deadline:
			sh.Fatalf("no %v in %q", pattern, sh.seen)
		}
	}
}
