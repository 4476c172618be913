//go:build !portable

package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox/sandboxtest"
	"github.com/fabricionaweb/pico-tracker/internal/sys"
)

// This file enters a sandbox in a process of its own. It is for one processor
// only, because an emulated test binary cannot start itself. The guests of
// make boards-system enter it on others.

// childEnv is set in the process that enters a sandbox. It has the directory of
// the test.
const childEnv = "PICO_SANDBOX_TEST"

// linkEnv is set if the lists of this process are symbolic links, one of them to a
// file that comes later.
const linkEnv = "PICO_SANDBOX_LINK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child enters a sandbox and checks it from inside.
func child(dir string) error {
	var stop atomic.Bool
	defer stop.Store(true)
	for range 8 { // threads that exist before
		go func() {
			for !stop.Load() {
				_ = os.Getpid()
			}
		}()
	}
	list, stats := filepath.Join(dir, "lists/list"), filepath.Join(dir, "stats/x.prom")
	link, later := filepath.Join(dir, "links/list"), filepath.Join(dir, "run/later/deep/list")
	if os.Getenv(linkEnv) != "" {
		list, later = link, filepath.Join(dir, "links/later")
	}
	r := sandbox.Enter(&sandbox.Config{Read: [2]string{list, later}, Write: stats})
	fmt.Println("in force:", r.String())
	if r.In == 0 {
		return nil
	}
	if err := sandboxtest.Try(r.In); err != nil {
		return err
	}
	read := func(path, want string) error {
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			return fmt.Errorf("%s: got %q, %w, want %q", path, b, err, want)
		}
		return nil
	}
	next := func() { // the parent changes the files
		fmt.Println("next")
		var b [1]byte
		_, _ = os.Stdin.Read(b[:])
	}
	write := func(path string) error { return sys.NewAtomicFile(path).Write([]byte("x")) }
	var wrong []error
	for _, version := range []string{"1", "2"} {
		wrong = append(wrong, read(list, version), write(stats))
		next()
	}
	wrong = append(wrong, read(later, "3"))
	_, err := os.ReadDir(filepath.Dir(list))
	wrong = append(wrong, err)
	if r.In&sandbox.Files != 0 {
		for _, path := range []string{filepath.Join(dir, "other"), list + ".x"} {
			if err := write(path); !errors.Is(err, os.ErrPermission) {
				wrong = append(wrong, fmt.Errorf("write to %s: got %w, want a refusal", path, err))
			}
		}
		if err := read(filepath.Join(dir, "other"), ""); !errors.Is(err, os.ErrPermission) {
			wrong = append(wrong, fmt.Errorf("read: got %w, want a refusal", err))
		}
	}
	return errors.Join(wrong...)
}

// TestEnter checks a sandbox from inside, in all threads: what it refuses, and
// that the files which the process needs stay in reach although they are
// replaced.
func TestEnter(t *testing.T) {
	for _, env := range []string{"", linkEnv + "=1"} {
		t.Run(env, func(t *testing.T) { testEnter(t, env) })
	}
}

func testEnter(t *testing.T, env string) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+"~", []byte(text), 0o600), os.Rename(path+"~", path)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lists/list", "targets/list", "other", "stats/x.prom", "run/file", "late/file"} {
		write(name, "1")
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "links"), 0o755), os.Symlink("../targets/list", filepath.Join(dir, "links/list")),
		os.Symlink("../late/list", filepath.Join(dir, "links/later"))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, env)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	changes := []func(){
		func() { write("lists/list", "2"); write("targets/list", "2") },
		func() { write("run/later/deep/list", "3"); write("late/list", "3") },
	}
	cmd.Stdout = writerFunc(func(b []byte) (int, error) {
		out.Write(b)
		for n := strings.Count(string(b), "next\n"); n > 0; n-- {
			changes[0]()
			changes = changes[1:]
			_, _ = in.Write([]byte("\n"))
		}
		return len(b), nil
	})
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
