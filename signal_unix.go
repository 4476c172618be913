//go:build unix

package main

import "syscall"

// summarySignal has a summary logged.
const summarySignal = syscall.SIGUSR1
