package buildinfo

// unknown is the version of a binary that nobody gave one.
const unknown = "devel"
