package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

func instantiateWASI(ctx context.Context, r wazero.Runtime) error {
	_, err := wasi_snapshot_preview1.Instantiate(ctx, r)
	return err
}

// call is one request and the instance that answers it.
type call struct {
	*program
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer // runs while the instance computes
	share  *share

	body io.ReadCloser

	w     http.ResponseWriter
	flush func() error
	begun bool   // the header was passed on
	start []byte // what was written before that
	err   error  // why the answer cannot go on
}

var errSilent = errors.New("computes without end")

// ServeHTTP implements [http.Handler].
func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// Answers may begin before the request's body has ended.
	_ = control.EnableFullDuplex()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	share, err := p.memory.enter(ctx)
	if err != nil {
		return // the caller is gone
	}
	defer share.leave()
	c := &call{program: p, ctx: ctx, cancel: cancel, share: share, body: r.Body, w: w, flush: control.Flush}
	err = c.run(r)
	switch {
	case err != nil && c.begun:
		panic(http.ErrAbortHandler) // what was sent must not be taken for a whole answer
	case err != nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadGateway)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
	}
}

// stuck is how long an instance may go on after it was told to end. One that only calls itself never looks; then the process ends.
const stuck = 5 * time.Second

// run runs an instance until it ends. The error is why there is no whole answer.
func (c *call) run(r *http.Request) (err error) {
	ended := make(chan struct{})
	defer close(ended)
	context.AfterFunc(c.ctx, func() {
		select {
		case <-ended:
		case <-time.After(stuck):
			fmt.Fprintln(os.Stderr, "a call could not be interrupted")
			os.Exit(1)
		}
	})
	output := &lines{logs: c.logs, done: c.ctx.Done()}
	defer output.close()
	config := c.config.WithStdin(c.timed(c.body)).WithStdout(c).WithStderr(output).WithNanosleep(c.sleep)
	for name, value := range variables(r) {
		config = config.WithEnv(name, value)
	}
	c.watch = time.AfterFunc(c.patience, func() { c.cancel(errSilent) })
	defer c.watch.Stop()
	defer func() {
		// wazero panics where an instance's first memory is not to be had.
		if p := recover(); p != nil {
			err = c.explain(fmt.Errorf("%v", p), output)
		}
	}()
	instance, err := c.runtime.InstantiateModule(experimental.WithMemoryAllocator(c.ctx, c.share), c.module, config)
	if instance != nil {
		_ = instance.Close(context.WithoutCancel(c.ctx))
	}
	return c.explain(err, output)
}

// explain says what the end of an instance means for the caller.
func (c *call) explain(err error, output *lines) error {
	var exit *sys.ExitError
	isExit := errors.As(err, &exit)
	switch {
	case errors.Is(context.Cause(c.ctx), errSilent):
		return fmt.Errorf("the program computed for %s without reading or writing, and was ended (resources.seconds in its message)", c.patience)
	case c.err != nil:
		return c.err
	case err == nil || isExit && exit.ExitCode() == 0:
		if !c.begun {
			return errors.New("the program ended before it had written the header of an answer")
		}
		return nil
	case c.share.refused:
		return fmt.Errorf("the program used up its memory of %d MiB (resources.memory in its message)", c.memoryMiB)
	case isExit:
		return fmt.Errorf("the program exited with status %d (see its logs)", exit.ExitCode())
	}
	output.close()
	_, _ = output.Write([]byte(err.Error() + "\n"))
	what, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("the program failed (see its logs): %s", strings.TrimPrefix(what, "module[] function[_start] failed: "))
}

// aside does what is not computing.
func (c *call) aside(f func()) {
	c.watch.Stop()
	f()
	c.watch.Reset(c.patience)
}

// timed makes the request's body the standard input.
func (c *call) timed(body io.Reader) io.Reader { return &input{c, body} }

type input struct {
	call *call
	body io.Reader
}

// Read implements [io.Reader].
func (i *input) Read(b []byte) (n int, err error) {
	i.call.aside(func() { n, err = i.body.Read(b) })
	return n, err
}

func (c *call) sleep(ns int64) {
	c.aside(func() {
		select {
		case <-time.After(time.Duration(ns)):
		case <-c.ctx.Done():
		}
	})
}

// Write implements [io.Writer] for the standard output: the header of the answer, then its body, which is passed on as it comes.
func (c *call) Write(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n := len(b)
	if !c.begun {
		before := len(c.start)
		c.start = append(c.start, b[:min(len(b), maxHead+1)]...)
		length := headLength(c.start)
		if length == 0 && len(c.start) <= maxHead {
			return n, nil
		}
		if length == 0 || length > maxHead {
			return 0, c.fail(fmt.Errorf("the header of the answer has more than %d bytes", maxHead))
		}
		h, err := parseHead(c.start[:length])
		if err != nil {
			return 0, c.fail(err)
		}
		for name, values := range h.header {
			c.w.Header()[name] = values
		}
		c.begun = true
		c.w.WriteHeader(h.status)
		b = b[length-before:]
		c.start = nil
	}
	var err error
	c.aside(func() {
		if len(b) > 0 {
			_, err = c.w.Write(b)
		}
		if err == nil {
			err = c.flush()
		}
	})
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
		return 0, c.fail(fmt.Errorf("send the answer: %w", err))
	}
	return n, nil
}

func (c *call) fail(err error) error {
	c.err = err
	c.cancel(err)
	return err
}
