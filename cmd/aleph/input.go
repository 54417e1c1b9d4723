package main

import "io"

// unlessInterrupted waits for a read, or for the user to end the tool: then what it reads is not to be looked at. A read of a terminal
// cannot be broken off; after Ctrl-C it ends with the process.
func (a *app) unlessInterrupted(read func() error) error {
	done := make(chan error, 1)
	go func() { done <- read() }()
	select {
	case <-a.interrupted:
		return errInterrupted
	case err := <-done:
		return err
	}
}

// stdin is standard input, which Ctrl-C ends with errInterrupted.
func (a *app) stdin() io.Reader { return readFunc(a.readInput) }

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (a *app) readInput(p []byte) (n int, err error) {
	own := make([]byte, len(p)) // of the read, which may outlive this call
	var read int
	err = a.unlessInterrupted(func() (err error) {
		read, err = a.in.Read(own)
		return err
	})
	if err == errInterrupted {
		return 0, err
	}
	return copy(p, own[:read]), err
}
