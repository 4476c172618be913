//go:build linux && !portable

package sandbox_test

import (
	"testing"

	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
)

// TestResult checks what the log says.
func TestResult(t *testing.T) {
	for _, c := range []struct {
		r    sandbox.Result
		want string
	}{
		{sandbox.Result{In: sandbox.SystemCalls | sandbox.Files | sandbox.Capabilities}, "system calls, files, capabilities"},
		{sandbox.Result{In: sandbox.SystemCalls | sandbox.Capabilities, Kept: " CAP_X CAP_Y", Missing: "files: no"}, "system calls, capabilities except CAP_X CAP_Y (files: no)"},
		{sandbox.Result{Missing: "no seccomp"}, "none (no seccomp)"},
	} {
		if got := c.r.String(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.r, got, c.want)
		}
	}
}
