//go:build release

package buildinfo

// Version returns the version of a binary for which main.version was not set.
func Version() string {
	return unknown
}
