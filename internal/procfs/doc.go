// Package procfs reads what the kernel counts for this process from /proc. It
// allocates nothing. On other systems nothing is known.
package procfs
