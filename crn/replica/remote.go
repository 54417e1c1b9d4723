package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// Remote is a replica on another node. Its token is shown in the Authorization header.
type Remote struct {
	HTTP     *http.Client
	Node     string // base URL
	Instance message.Hash
	Token    string
}

const (
	// askLimit bounds requests but for commits.
	askLimit = 30 * time.Second
	// commitLimit bounds a commit, whose list may be long.
	commitLimit = 5 * time.Minute
	// MaxGeneration bounds a generation on its way, in bytes of JSON: some 200 GiB of disks without zeros.
	MaxGeneration = 256 << 20
)

// Statuses that holders answer errors with, which are the same on both sides.
var statuses = []struct {
	status int
	err    error
}{
	{http.StatusNotFound, ErrUnknown}, {http.StatusGone, ErrTaken}, {http.StatusInsufficientStorage, ErrNoRoom},
	{http.StatusConflict, ErrLine}, {http.StatusUnprocessableEntity, ErrIncomplete}, {http.StatusTooEarly, ErrEarly},
}

// Status is how a holder answers an error.
func Status(err error) int {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// State implements [Holder].
func (r *Remote) State(ctx context.Context, line string) (state State, err error) {
	return state, r.ask(ctx, askLimit, http.MethodGet, "?line="+line, nil, &state)
}

// Renew asks whether the instance may go on. Yes is nil.
func (r *Remote) Renew(ctx context.Context) error {
	return r.ask(ctx, askLimit, http.MethodPost, "/renew", nil, nil)
}

// Reset has what was sent removed.
func (r *Remote) Reset(ctx context.Context) error {
	return r.ask(ctx, askLimit, http.MethodPost, "/reset", nil, nil)
}

// Put implements [Holder].
func (r *Remote) Put(ctx context.Context, id ID, sealed []byte) error {
	return r.ask(ctx, askLimit, http.MethodPut, "/chunk/"+id.String(), sealed, nil)
}

// Commit implements [Holder].
func (r *Remote) Commit(ctx context.Context, g Generation) error {
	raw, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode a generation: %w", err)
	}
	if len(raw) > MaxGeneration {
		return fmt.Errorf("%w: the disks are too large", ErrNoRoom)
	}
	return r.ask(ctx, commitLimit, http.MethodPost, "/generation", raw, nil)
}

// ask sends a request about the replica and decodes the answer.
func (r *Remote) ask(ctx context.Context, limit time.Duration, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.Node+"/control/replica/"+string(r.Instance)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.Token)
	response, err := r.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("the holder of a replica: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		for _, s := range statuses {
			if s.status == response.StatusCode {
				return fmt.Errorf("the holder of a replica answers: %w", s.err)
			}
		}
		return fmt.Errorf("the holder of a replica answers %s: %s", response.Status, text)
	}
	if into == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // so that the connection serves again
		return err
	}
	return json.NewDecoder(io.LimitReader(response.Body, MaxGeneration)).Decode(into)
}
