// Package hmac256 has HMAC-SHA256 and SHA-256 that allocate nothing. Where the
// standard library has assembly for SHA-256, they use it. On other processors
// they are written by hand, which saves 40 KB of a router's flash.
package hmac256
