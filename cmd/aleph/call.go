package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func (a *app) programCall() *cobra.Command {
	var method, data string
	var headers []string
	c := &cobra.Command{
		Use: "call HASH [PATH]", Short: "Send an HTTP request to a program", Args: cobra.RangeArgs(1, 2),
		Long:    "Ask where a program runs and send it a request; its answer is printed. While it boots or moves, the request is repeated.",
		Example: "  aleph program call " + exampleProgram + " /\n  aleph program call " + exampleProgram + " /items -X POST -d '{\"name\":\"a\"}' -H 'Content-Type: application/json'",
		RunE: a.within(func(ctx context.Context, args []string) error {
			hash, err := a.hash(ctx, args[0])
			if err != nil {
				return err
			}
			r := client.ProgramRequest{Method: strings.ToUpper(method), Path: "/", Header: http.Header{}, Body: []byte(data)}
			if len(args) == 2 {
				r.Path = args[1]
			}
			if r.Method == "" && data != "" {
				r.Method = http.MethodPost
			}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return usageError{fmt.Errorf("--header %s: want NAME: VALUE", h)}
				}
				r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			return a.call(ctx, hash, r)
		}),
	}
	c.Flags().StringVarP(&method, "request", "X", "", "HTTP `method`; default GET, or POST with --data")
	c.Flags().StringVarP(&data, "data", "d", "", "body of the request")
	c.Flags().StringArrayVarP(&headers, "header", "H", nil, "header, `NAME: VALUE`; may be repeated")
	return c
}

// callPatience is the time after which people want to know why nothing comes.
const callPatience = 3 * time.Second

func (a *app) call(ctx context.Context, hash message.Hash, r client.ProgramRequest) error {
	told := make(chan struct{})
	slow := time.AfterFunc(callPatience, func() {
		a.say("No answer yet: its machine may have to start first")
		close(told)
	})
	resp, err := callUntilThere(ctx, a.client(), hash, r)
	if !slow.Stop() {
		<-told
	}
	if err != nil {
		return err
	}
	body, err := client.ReadAnswer(resp, maxProgramAnswer)
	if err != nil {
		return err
	}
	type view struct {
		Status int         `json:"status"`
		Header http.Header `json:"headers"`
		Body   string      `json:"body"`
	}
	err = print(a, view{resp.StatusCode, resp.Header, string(body)}, func(io.Writer, view) {})
	if a.output == "text" {
		_, err = a.out.Write(body)
		if err == nil && len(body) > 0 && body[len(body)-1] != '\n' {
			_, err = io.WriteString(a.out, "\n")
		}
	}
	if err == nil && resp.StatusCode >= 400 {
		return fmt.Errorf("the program answered with status %d", resp.StatusCode)
	}
	return err
}

// callUntilThere repeats a call while the program has no place, or its place cannot serve it yet. A program's own answer is
// never asked for twice.
func callUntilThere(ctx context.Context, api *client.Client, hash message.Hash, r client.ProgramRequest) (*http.Response, error) {
	var last error
	for {
		place, err := api.Allocation(ctx, hash)
		if err == nil {
			var resp *http.Response
			if resp, err = api.CallProgram(ctx, place.Node.URL, hash, r); err == nil {
				if !notThere(resp) {
					return resp, nil
				}
				body, readErr := client.ReadAnswer(resp, 4096)
				err = errors.Join(fmt.Errorf("%s answered %d: %s", nodeName(&place.Node), resp.StatusCode, strings.TrimSpace(string(body))), readErr)
			}
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ended := pause(ctx); errors.Is(ended, context.Canceled) {
			return nil, ended
		} else if ended != nil {
			return nil, fmt.Errorf("program %s did not answer in time: %w", hash, errors.Join(context.Cause(ctx), last))
		}
	}
}

// notThere reports whether an answer is the compute node's, and says that the program cannot be reached at the moment. The
// node marks the program's own answers with its hash (crn §2.3).
func notThere(resp *http.Response) bool {
	if resp.Header.Get("Aleph-Program-ItemHash") != "" {
		return false
	}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// pollPause is the time between two questions to a network that is about to have the answer.
const pollPause = 200 * time.Millisecond

func pause(ctx context.Context) error { return pauseFor(ctx, pollPause) }

func pauseFor(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

// whereRuns asks until the workload has a place.
func (a *app) whereRuns(ctx context.Context, api *client.Client, hash message.Hash) (*client.Allocation, error) {
	for {
		place, err := a.placeOf(ctx, api, hash)
		if !errors.Is(err, client.ErrNotFound) {
			return place, err
		}
		if ended := pause(ctx); ended != nil {
			return nil, pendingError{fmt.Errorf("%s has no place to run yet: %w", hash, ended)}
		}
	}
}
