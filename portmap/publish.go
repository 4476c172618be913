package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// This file writes the address file, which the tracker follows, and the state
// file beside it, which outlives a crash.

// writeAddress replaces the file in one step. An invalid address means that the
// public address is not known.
func writeAddress(path string, public netip.AddrPort) error {
	content := "# Public address of the tracker, written by pico-tracker-portmap.\n"
	if public.IsValid() {
		content += public.String() + "\n"
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return nil
	}
	return replaceFile(path, content, 0o644)
}

// replaceFile writes a new file and renames it, so that readers see the old
// content or the new one.
func replaceFile(path, content string, mode fs.FileMode) error {
	next := path + ".new"
	// A file that was left behind may have another mode.
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = file.Chmod(mode) // whatever the umask is
	if err == nil {
		_, err = file.WriteString(content)
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
	}
	return err
}

func statePath(path string) string { return path + ".state" }

// machineID is a file with a number that no other machine has.
const machineID = "/etc/machine-id"

// loadNonce returns the nonce of the mapping of a port. A PCP server changes a
// mapping only for its nonce, so after a crash or a power failure the nonce must
// be the same. It is made from the machine's ID. Without one it is in the state
// file, which is for its owner alone.
func loadNonce(path, idPath string, port uint16) (nonce, error) {
	var n nonce
	if id, err := os.ReadFile(idPath); err == nil && len(bytes.TrimSpace(id)) >= len(n) {
		mac := hmac.New(sha256.New, bytes.TrimSpace(id))
		fmt.Fprintf(mac, "pico-tracker-portmap UDP %d", port)
		return nonce(mac.Sum(nil)[:len(n)]), nil
	}
	if path != "" {
		if text, err := os.ReadFile(statePath(path)); err == nil {
			if b, err := hex.DecodeString(strings.TrimSpace(string(text))); err == nil && len(b) == len(n) {
				return nonce(b), nil
			}
		}
	}
	if _, err := rand.Read(n[:]); err != nil {
		return n, err
	}
	if path == "" {
		return n, nil
	}
	return n, replaceFile(statePath(path), hex.EncodeToString(n[:])+"\n", 0o600)
}

// removeFiles removes the address file. It removes the state file too if the
// router has no mapping left that needs the nonce.
func removeFiles(path string, state bool) error {
	err := os.Remove(path)
	if state {
		if stateErr := os.Remove(statePath(path)); !errors.Is(stateErr, fs.ErrNotExist) {
			err = errors.Join(err, stateErr)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
