package packaging

import "testing"

// The flags in it are compared with the program's by docs_test.go.
func TestManualPage(t *testing.T) {
	t.Parallel()
	need(t, "mandoc")
	if out := run(t, "mandoc", "-Tlint", "-Wbase", "pico-tracker.8"); out != "" {
		t.Error(out)
	}
}
