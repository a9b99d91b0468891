package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to keyboard is typed.
func terminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return keyboard, screen
}

func shows(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), termiosGet)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

func TestPasswordOnATerminalIsNotShown(t *testing.T) {
	keyboard, screen := terminal(t)
	prompts := &lines{}
	p := &program{stdin: screen, stderr: prompts}
	if !p.isTerminal() {
		t.Fatal("not seen as a terminal")
	}
	type result struct {
		password string
		made     bool
		err      error
	}
	done := make(chan result, 1)
	go func() {
		password, made, err := p.password(false)
		done <- result{password, made, err}
	}()
	// Different ones first, then twice the same.
	for _, line := range []string{"first", "second", "correct horse", "correct horse"} {
		for range 500 {
			if !shows(t, screen) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if shows(t, screen) {
			t.Fatal("the terminal shows what is typed")
		}
		before := len(prompts.String())
		fmt.Fprintln(keyboard, line)
		for range 500 { // the next question, or the end
			if len(prompts.String()) > before+1 || len(done) > 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	r := <-done
	if r.err != nil || r.password != "correct horse" || r.made {
		t.Errorf("got %+v\n%s", r, prompts)
	}
	if !shows(t, screen) {
		t.Error("the terminal hides what is typed afterwards")
	}
}
