// Package browser stands in for github.com/pkg/browser (go.mod replaces it), of which the driver calls OpenURL alone. That
// package looks for an opener on PATH and waits for it to end: a browser that stays in the foreground would block its own login,
// a failing opener would end it, and where none exists the login could not even be finished by hand. PATH, which is one for the
// whole process, would be the only way to change that.
package browser

import (
	"errors"
	"sync/atomic"
)

var opener atomic.Pointer[func(address string) error]

// SetOpener says what OpenURL does from now on.
func SetOpener(open func(address string) error) { opener.Store(&open) }

// OpenURL is what the driver calls to show a person an address.
func OpenURL(address string) error {
	if open := opener.Load(); open != nil {
		return (*open)(address)
	}
	return errors.New("no opener is set")
}
