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

// layers returns the names of the files that the section "# Files" of doc.go
// lists, from top to bottom. A name stands for all files of one mechanism:
// NAME.go, or NAME_linux.go and NAME_other.go and so on.
func layers(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n// # Files\n")
	section, _, _ = strings.Cut(section, "\n// # ")
	var names []string
	for _, line := range strings.Split(section, "\n") {
		if entry, ok := strings.CutPrefix(line, "//\t"); ok && !strings.HasPrefix(entry, " ") {
			names = append(names, strings.Fields(entry)[0])
		}
	}
	if !found || len(names) < 15 {
		t.Fatalf("doc.go: found %d files in the section Files", len(names))
	}
	return names
}

// TestPackages checks that doc.go lists all packages below internal/.
func TestPackages(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n// # Packages\n")
	section, _, _ = strings.Cut(section, "\n// # ")
	var listed, found []string
	for _, line := range strings.Split(section, "\n") {
		if entry, ok := strings.CutPrefix(line, "//\t"); ok {
			listed = append(listed, strings.Fields(entry)[0])
		}
	}
	packages, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		found = append(found, p.Name())
	}
	slices.Sort(listed)
	if !slices.Equal(listed, found) {
		t.Errorf("doc.go lists the packages %v, want %v", listed, found)
	}
}

// systems are the endings of file names that stand for kinds of systems.
var systems = []string{"_linux", "_other", "_unix", "_windows"}

// layer returns the place of a file in the list, -1 if it is not listed.
func layer(names []string, file string) int {
	name := strings.TrimSuffix(file, ".go")
	for _, s := range systems {
		name = strings.TrimSuffix(name, s)
	}
	return slices.Index(names, name)
}

// TestLayers checks on every system that each file uses only declarations of
// files that stand below it in doc.go, and that doc.go lists every file.
func TestLayers(t *testing.T) {
	names := layers(t)
	unused := map[string]bool{}
	for _, name := range names {
		if unused[name] {
			t.Errorf("doc.go lists %s twice", name)
		}
		unused[name] = true
	}
	for _, system := range []struct {
		os   string
		tags []string
	}{{"linux", nil}, {"linux", []string{"portable"}}, {"windows", nil}, {"freebsd", nil}, {"darwin", nil}} {
		if testing.Short() && (system.os != "linux" || system.tags != nil) {
			continue // the result is the same on every processor
		}
		t.Run(strings.Join(append([]string{system.os}, system.tags...), ","), func(t *testing.T) {
			context := build.Default
			context.GOOS, context.BuildTags = system.os, system.tags
			sources := map[string]string{}
			files, err := filepath.Glob("*.go")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if strings.HasSuffix(file, "_test.go") || file == "doc.go" {
					continue
				}
				place := layer(names, file)
				if place < 0 {
					t.Errorf("doc.go does not list %s", file)
					continue
				}
				delete(unused, names[place])
				if ok, err := context.MatchFile(".", file); err != nil {
					t.Fatal(err)
				} else if ok {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					sources[file] = string(text)
				}
			}
			upward, uses, err := upwardUses(names, sources)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range upward {
				t.Error(u)
			}
			// There are more: a smaller number means that the check is blind.
			if uses < 300 {
				t.Errorf("got %d uses between files, want at least 300", uses)
			}
		})
	}
	for name := range unused {
		t.Errorf("doc.go lists %s, which has no file", name)
	}
}

// TestUpwardUses checks that functions, methods, fields, types, constants and
// variables are found if they are used upwards.
func TestUpwardUses(t *testing.T) {
	names := []string{"main", "pool"}
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
		upward, _, err := upwardUses(names, map[string]string{"main.go": low, "pool.go": high})
		if err != nil {
			t.Fatal(err)
		}
		if len(upward) != want {
			t.Errorf("%q: %q, want %d", use, upward, want)
		}
		if upward, _, _ = upwardUses(names, map[string]string{"pool.go": low, "main.go": high}); len(upward) != 0 {
			t.Errorf("%q the right way: %q", use, upward)
		}
	}
}

// upwardUses lists the uses of declarations that are in a higher file, and
// counts all uses between files. Other packages are not loaded: their
// declarations have no types here, which does not matter for ours.
func upwardUses(names []string, sources map[string]string) (upward []string, uses int, err error) {
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
		if layer(names, from.Filename) > layer(names, to.Filename) && !seen[key] {
			seen[key] = true
			upward = append(upward, fmt.Sprintf("%s: uses %s of %s, a higher file", from, object.Name(), to.Filename))
		}
	}
	slices.Sort(upward)
	return upward, uses, nil
}

// emptyImporter imports packages without declarations.
type emptyImporter struct{}

func (emptyImporter) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}
