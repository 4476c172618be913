//go:build !linux || portable

package filewatch

import "errors"

// Watch is not available on this system: it returns errors.ErrUnsupported.
func Watch(string, func(Event)) (stop func(), err error) {
	return nil, errors.ErrUnsupported
}
