//go:build !linux || portable

package sdnotify

import "time"

// Elsewhere no service manager wants to be told anything.

type Notifier struct{}

func New([]string) *Notifier { return nil }

func (*Notifier) Ready()     {}
func (*Notifier) Stopping()  {}
func (*Notifier) Reloading() {}
func (*Notifier) Watchdog()  {}

func (*Notifier) WatchdogInterval() time.Duration { return 0 }
