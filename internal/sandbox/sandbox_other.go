//go:build !linux || portable

package sandbox

// Enter does nothing: there is no sandbox on this system.
func Enter(*Config) Result { return Result{Missing: "not supported on this system"} }
