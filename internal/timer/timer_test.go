package timer

import (
	"testing"
	"time"
)

// TestTimer checks with a deadline that a timer fires, fires again after Reset,
// and does not fire after Stop.
func TestTimer(t *testing.T) {
	timer := New(time.Millisecond)
	await := func(what string) {
		t.Helper()
		select {
		case <-timer.C:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: got no value", what)
		}
	}
	await("new")
	timer.Reset(time.Millisecond)
	await("reset")

	timer.Reset(time.Hour)
	timer.Stop()
	select {
	case <-timer.C:
		t.Error("got a value after Stop")
	default:
	}
}

// TestResetRemovesValue checks that Reset removes a value that nobody received.
func TestResetRemovesValue(t *testing.T) {
	timer := New(0)
	for end := time.Now().Add(20 * time.Second); len(timer.C) == 0; {
		if time.Now().After(end) {
			t.Fatal("got no value")
		}
	}
	timer.Reset(time.Hour)
	defer timer.Stop()
	if n := len(timer.C); n != 0 {
		t.Errorf("got %d values after Reset, want none", n)
	}
}
