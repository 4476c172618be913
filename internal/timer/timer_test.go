package timer

import (
	"testing"
	"time"
)

const deadline = 20 * time.Second

// TestTimer checks with a deadline that a timer fires, fires again after Reset,
// and does not fire after Stop.
func TestTimer(t *testing.T) {
	timer := New(time.Millisecond)
	await := func(what string) {
		t.Helper()
		select {
		case <-timer.C:
		case <-time.After(deadline):
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
	for end := time.Now().Add(deadline); len(timer.C) == 0; {
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

// TestLong checks that a long timer fires after each Reset, and not before its
// time. Reset removes a value that nobody received.
func TestLong(t *testing.T) {
	timer := NewLong()
	defer timer.Stop()
	fired := func() bool {
		select {
		case <-timer.C:
			return true
		case <-time.After(deadline):
			return false
		}
	}
	for _, d := range []time.Duration{time.Millisecond, 0, -time.Second, 1500 * time.Millisecond} {
		start := time.Now()
		timer.Reset(d)
		if !fired() {
			t.Fatalf("%v: got no value", d)
		}
		if took := time.Since(start); took < d {
			t.Errorf("%v: got a value after %v", d, took)
		}
	}

	timer.Reset(time.Millisecond)
	for end := time.Now().Add(deadline); len(timer.C) == 0; {
		if time.Now().After(end) {
			t.Fatal("got no value")
		}
	}
	timer.Reset(time.Hour)
	if n := len(timer.C); n != 0 {
		t.Errorf("got %d values after Reset, want none", n)
	}
}
