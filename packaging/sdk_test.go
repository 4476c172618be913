package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenWrtSDK runs the script for OpenWrt's SDK with a replacement of the
// SDK, which records its calls.
func TestOpenWrtSDK(t *testing.T) {
	need(t, "make")
	for _, c := range []struct{ name, key, signed string }{
		{name: "without keys", signed: ""},
		{name: "key for opkg", key: "key-build", signed: "y"},
		{name: "key for apk", key: "private-key.pem", signed: "y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			work, sdk := t.TempDir(), t.TempDir()
			files := map[string]string{
				work + "/feed/openwrt/pico-tracker/Makefile":  "# recipe",
				work + "/feed/openwrt/luci-app-pico/Makefile": "# recipe",
				work + "/feed/openwrt/notes/README":           "no recipe",
				work + "/out/.keep":                           "",
				work + "/keys/.keep":                          "",
				sdk + "/feeds.conf.default":                   "src-git packages https://example.invalid\n",
				sdk + "/scripts/feeds":                        "#!/bin/sh\necho feeds \"$@\" >>log\n",
				sdk + "/Makefile": `defconfig:
	@echo $@ $$(grep -c '^CONFIG_PACKAGE_.*=m$$' .config) >>log
package/%/compile:
	@echo $@ >>log
package/index:
	@echo $@ $(CONFIG_SIGNED_PACKAGES) $$(ls key-build private-key.pem 2>/dev/null) >>log
	@mkdir -p bin/packages/mips_24kc/pico && echo index >bin/packages/mips_24kc/pico/Packages
`,
			}
			if c.key != "" {
				files[work+"/keys/"+c.key] = "secret"
			}
			for name, text := range files {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			script, err := filepath.Abs("openwrt-sdk")
			if err != nil {
				t.Fatal(err)
			}
			runIn(t, sdk, []string{"WORK=" + work, "MAKEFLAGS=", "MAKELEVEL="}, script, "mips_24kc")
			want := strings.Join([]string{
				"feeds update -a", "feeds install -p pico -f -a", "defconfig 2", "package/luci-app-pico/compile", "package/pico-tracker/compile",
				strings.TrimSpace("package/index " + c.signed + " " + c.key), "",
			}, "\n")
			if got := string(read(t, sdk+"/log")); got != want {
				t.Errorf("the SDK was asked\n%swant\n%s", got, want)
			}
			if got, want := string(read(t, sdk+"/feeds.conf")), "src-git packages https://example.invalid\nsrc-link pico "+work+"/feed\n"; got != want {
				t.Errorf("feeds.conf: got %q, want %q", got, want)
			}
			if got := string(read(t, work+"/out/Packages")); got != "index\n" {
				t.Errorf("index: %q", got)
			}
		})
	}
}
