package main

import (
	"errors"
	"time"

	"github.com/fabricionaweb/pico-tracker/internal/timer"
)

// This file writes the file of -stats. Another goroutine does it, because the file
// may be on a network file system that hangs.

// diskWait is how long the maintenance loop waits for the disk.
const diskWait = 2 * time.Second

var errDiskHangs = errors.New("the disk does not answer")

// replaceable is a file whose content is replaced as a whole.
type replaceable interface {
	Name() string
	Write(text []byte) error
	Remove()
}

// reportFile is the file of -stats. One goroutine calls its methods.
type reportFile struct {
	file    replaceable
	text    []byte        // what will be written
	work    chan struct{} // receives when text is ready
	done    chan error    // the result of the write
	writing bool          // no result has come yet: text must not be changed
	wait    *timer.Timer
}

func newReportFile(file replaceable) *reportFile {
	f := &reportFile{file: file, work: make(chan struct{}), done: make(chan error, 1), wait: timer.New(diskWait)}
	f.wait.Stop()
	go func() {
		for range f.work {
			f.done <- f.file.Write(f.text)
		}
	}()
	return f
}

// write replaces the content of the file. If the disk does not answer within a
// moment, write returns errDiskHangs, and so it does until the disk has answered.
func (f *reportFile) write(text []byte) error {
	if f.hangs() {
		return errDiskHangs
	}
	f.text = append(f.text[:0], text...)
	f.writing = true
	f.work <- struct{}{}
	f.wait.Reset(diskWait)
	defer f.wait.Stop()
	select {
	case err := <-f.done:
		f.writing = false
		return err
	case <-f.wait.C:
		return errDiskHangs
	}
}

// hangs reports whether a write is not over.
func (f *reportFile) hangs() bool {
	select {
	case <-f.done:
		f.writing = false
	default:
	}
	return f.writing
}

// remove removes the file, because a monitor would take an old one for the state of
// a running tracker. It cannot be removed if the disk does not answer.
func (f *reportFile) remove() {
	if !f.hangs() {
		close(f.work)
		f.file.Remove()
	}
}
