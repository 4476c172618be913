//go:build unix

package sys

import "syscall"

// SummarySignal has a summary logged.
const SummarySignal = syscall.SIGUSR1
