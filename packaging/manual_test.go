package packaging

import "testing"

// Tests of the programs compare the flags in the pages.
func TestManualPages(t *testing.T) {
	t.Parallel()
	need(t, "mandoc")
	for _, page := range []string{"pico-tracker.8", "pico-tracker-portmap.8"} {
		if out := run(t, "mandoc", "-Tlint", "-Wbase", page); out != "" {
			t.Error(out)
		}
	}
}
