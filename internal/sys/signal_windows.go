package sys

import "syscall"

// SummarySignal would have a summary logged; here it is one that never comes.
const SummarySignal = syscall.Signal(-1)
