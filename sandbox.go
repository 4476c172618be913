package main

import (
	"github.com/fabricionaweb/pico-tracker/internal/logger"
	"github.com/fabricionaweb/pico-tracker/internal/sandbox"
)

// This file names what the tracker needs while it serves, and drops all other
// rights (-sandbox).

// strictSandbox is set by tests: a system call that the list lacks then ends the
// process.
var strictSandbox bool

// enterSandbox drops the rights and returns what is in force.
func enterSandbox(c *config, log *logger.Logger) sandbox.Part {
	need := sandbox.Config{Write: c.stats, Port: c.port, Strict: strictSandbox}
	need.Read[0] = c.whitelist + c.blacklist
	if c.scopes {
		need.Read[1] = c.externalFile
	}
	for _, a := range c.listen {
		need.Rebind = need.Rebind || a.Zone != ""
	}
	r := sandbox.Enter(&need)
	log.Info("sandbox: ", r.String())
	return r.In
}
