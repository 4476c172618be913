package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// road is the order of the files: each uses declarations of its own line and of
// those further down. What stands in one line is one mechanism, in a file for
// each kind of system.
var road = [][]string{
	{"doc.go"},
	{"main.go"},
	{"plan.go"},
	{"signal_unix.go", "signal_windows.go"},
	{"status.go"},
	{"probe.go", "probe_linux.go", "probe_other.go"},
	{"memory_plan.go"},
	{"config.go"},
	{"maintenance.go"},
	{"worker.go"},
	{"report.go"},
	{"kernel_linux.go", "kernel_other.go"},
	{"notify_linux.go", "notify_other.go"},
	{"links_linux.go", "links_other.go"},
	{"tracker.go"},
	{"cookie.go"},
	{"hmac_soft.go", "hmac_std.go"},
	{"packet.go"},
	{"ratelimit.go"},
	{"whitelist.go"},
	{"torrents.go"},
	{"share.go"},
	{"choice.go"},
	{"peers.go"},
	{"scope.go"},
	{"pool.go"},
	{"prefetch_asm.go", "prefetch_other.go"},
	{"mem_linux.go", "mem_other.go"},
	{"stats.go"},
	{"netlink_linux.go"},
	{"addr.go"},
	{"hash.go"},
	{"files.go", "system_linux.go", "system_other.go"},
	{"log.go"},
}

// milestone is a file's place on the road, -1 for one that is not on it.
func milestone(name string) int {
	return slices.IndexFunc(road, func(files []string) bool { return slices.Contains(files, name) })
}

// TestRoad: on every system, each file uses declarations of files further down
// only.
func TestRoad(t *testing.T) {
	for _, system := range []struct {
		os   string
		tags []string
	}{{"linux", nil}, {"linux", []string{"portable"}}, {"windows", nil}, {"freebsd", nil}, {"darwin", nil}} {
		t.Run(strings.Join(append([]string{system.os}, system.tags...), ","), func(t *testing.T) {
			context := build.Default
			context.GOOS, context.BuildTags = system.os, system.tags
			sources := map[string]string{}
			names, err := filepath.Glob("*.go")
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasSuffix(name, "_test.go") {
					continue
				}
				if milestone(name) < 0 {
					t.Errorf("%s is not on the road", name)
				}
				if ok, err := context.MatchFile(".", name); err != nil {
					t.Fatal(err)
				} else if ok {
					text, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					sources[name] = string(text)
				}
			}
			against, uses, err := wrongWay(sources)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range against {
				t.Error(a)
			}
			// So many are there, and more: the checker has seen the code.
			if uses < 500 {
				t.Errorf("only %d uses from file to file were seen", uses)
			}
		})
	}
}

// TestRoadIsHeld: the check finds functions, methods, fields, types, constants
// and variables that are used against the order.
func TestRoadIsHeld(t *testing.T) {
	low := "package main\nimport \"gone.example/gone\"\ntype T struct { f int; gone.X }\nfunc (T) m() {}\nfunc F() {}\nconst C = 1\nvar V gone.Y\n"
	for use, want := range map[string]int{
		"F()":              1,
		"var x T; _ = x.f": 2,
		"var x T; x.m()":   2,
		"_ = C":            1,
		"_ = V.Z":          1,
		"G(); var C int":   0,
		"println(1)":       0,
	} {
		high := "package main\nfunc G() {}\nfunc g() { " + use + " }\n"
		against, _, err := wrongWay(map[string]string{"main.go": low, "log.go": high})
		if err != nil {
			t.Fatal(err)
		}
		if len(against) != want {
			t.Errorf("%q: %q, want %d", use, against, want)
		}
		if against, _, _ = wrongWay(map[string]string{"log.go": low, "main.go": high}); len(against) != 0 {
			t.Errorf("%q the right way: %q", use, against)
		}
	}
}

// wrongWay lists the uses against the order of the road among the files of a
// package, and says how many uses from file to file there are. Other packages
// are not looked into: what is theirs has no type here, which does not hinder
// what is ours.
func wrongWay(sources map[string]string) (against []string, uses int, err error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for name, text := range sources {
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, 0, err
		}
		files = append(files, f)
	}
	info := types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: emptyImporter{}, Error: func(error) {}}
	pkg, _ := config.Check("main", fset, files, &info)
	if pkg == nil {
		return nil, 0, errors.New("no package")
	}
	seen := map[string]bool{}
	for ident, object := range info.Uses {
		if object.Pkg() != pkg {
			continue
		}
		from, to := fset.Position(ident.Pos()), fset.Position(object.Pos())
		if from.Filename == to.Filename {
			continue
		}
		uses++
		key := fmt.Sprintf("%s uses %s of %s", from.Filename, object.Name(), to.Filename)
		if milestone(from.Filename) > milestone(to.Filename) && !seen[key] {
			seen[key] = true
			against = append(against, fmt.Sprintf("%s: uses %s of %s, which is further up", from, object.Name(), to.Filename))
		}
	}
	slices.Sort(against)
	return against, uses, nil
}

// emptyImporter imports packages without declarations.
type emptyImporter struct{}

func (emptyImporter) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}
