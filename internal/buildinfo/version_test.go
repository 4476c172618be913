//go:build !release

package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	revision := setting("vcs.revision", "c339db4f0e0a1b2c3d4e5f60718293a4b5c6d7e8")
	for _, c := range []struct {
		name     string
		main     string
		settings []debug.BuildSetting
		want     string
	}{
		{name: "go install of a tag", main: "v0.1.0", want: "0.1.0"},
		{name: "go build of a checkout, Go 1.24", main: "v0.1.1-0.20261125165631-c339db4f0e0a+dirty", settings: []debug.BuildSetting{revision},
			want: "0.1.1-0.20261125165631-c339db4f0e0a+dirty"},
		{name: "go build of a checkout, Go 1.23", main: "(devel)", settings: []debug.BuildSetting{revision, setting("vcs.modified", "false")},
			want: "devel+gc339db4"},
		{name: "go build of a changed checkout, Go 1.23", main: "(devel)", settings: []debug.BuildSetting{revision, setting("vcs.modified", "true")},
			want: "devel+gc339db4.dirty"},
		{name: "without git", main: "(devel)", want: "devel"},
		{name: "without a module", want: "devel"},
		{name: "a short revision", settings: []debug.BuildSetting{setting("vcs.revision", "c339db")}, want: "devel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: c.main}, Settings: c.settings}
			if got := version(info); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
