package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/aleph-im/aleph-go/message"
)

// machinePath is where owners operate a machine of a compute node.
func machinePath(hash message.Hash, rest string) string {
	return "/control/machine/" + string(hash) + "/" + rest
}

// sized is a body whose length is known, in bytes.
type sized struct {
	io.Reader
	size int64
}

// signedCall sends one request in the name of an account to a compute node and returns its answer, whatever the status. It is not
// repeated; ctx bounds it, as some operations take minutes.
func (c *Client) signedCall(ctx context.Context, by Account, method, crnURL, path, query string, body io.Reader, kind string) (answer, error) {
	header, err := operation(ctx, by, method, crnURL, path, time.Now())
	if err != nil {
		return answer{}, err
	}
	target := strings.TrimRight(crnURL, "/") + path
	if query != "" {
		target += "?" + query
	}
	req, err := c.request(ctx, method, target, body)
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if b, ok := body.(sized); ok {
		req.ContentLength = b.size
		req.Header.Set("Expect", "100-continue") // a node that refuses says so before the bytes are sent
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: read answer: %w", method, target, err)
	}
	return answer{resp.StatusCode, raw, target, retryAfter(resp.Header, time.Now())}, nil
}

// StreamReceiver returns the address to which the compute node at crnURL wants streams on a chain to go; "" when it takes none
// there (crn §2.5.2).
func (c *Client) StreamReceiver(ctx context.Context, crnURL, chain string) (string, error) {
	var config struct {
		Payment struct {
			Receiver string `json:"PAYMENT_RECEIVER_ADDRESS"`
			Chains   map[string]struct {
				Active bool `json:"active"`
			} `json:"AVAILABLE_PAYMENTS"`
		} `json:"payment"`
	}
	if err := c.getFrom(ctx, strings.TrimRight(crnURL, "/"), "/status/config", nil, &config); err != nil {
		return "", fmt.Errorf("how %s is paid: %w", crnURL, err)
	}
	if !config.Payment.Chains["Chain."+chain].Active {
		return "", nil
	}
	return config.Payment.Receiver, nil
}

// NotifyAllocation asks a compute node to start an instance that is paid to it by a stream or by credits (crn §2.7.1). The answer
// comes when the machine runs; only ctx bounds that. What is not paid is an [*HTTPError] with status 402 that says what is missing.
func (c *Client) NotifyAllocation(ctx context.Context, crnURL string, hash message.Hash) error {
	body, err := json.Marshal(map[string]message.Hash{"instance": hash})
	if err != nil {
		return err
	}
	target := strings.TrimRight(crnURL, "/") + "/control/allocation/notify"
	req, err := c.request(ctx, http.MethodPost, target, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("start %s: %w", hash, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("start %s: read the answer: %w", hash, err)
	}
	var reply struct {
		Success bool              `json:"success"`
		Errors  map[string]string `json:"errors"`
	}
	if json.Unmarshal(raw, &reply) == nil {
		if resp.StatusCode == http.StatusOK && reply.Success {
			return nil
		}
		if why := reply.Errors[string(hash)]; why != "" {
			return fmt.Errorf("start %s: the compute node says: %s", hash, why)
		}
	}
	return fmt.Errorf("start %s: %w", hash, httpError(http.MethodPost, target, answer{status: resp.StatusCode, body: raw}))
}

// ExpireMachine has a workload end after a time, more than none and less than ten days.
func (c *Client) ExpireMachine(ctx context.Context, by Account, crnURL string, hash message.Hash, after time.Duration) error {
	body := fmt.Sprintf(`{"timeout":%g}`, after.Seconds())
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, machinePath(hash, "expire"), "", strings.NewReader(body), "application/json")
	if err == nil && a.status != http.StatusOK {
		err = httpError(http.MethodPost, a.url, a)
	}
	if err != nil {
		return fmt.Errorf("expire %s: %w", hash, err)
	}
	return nil
}

// ReserveResources asks a compute node whether an instance would fit, and has it keep the graphics cards that the instance wants
// for a minute. It returns until when they are kept.
func (c *Client) ReserveResources(ctx context.Context, by Account, crnURL string, instance *message.Instance) (until string, err error) {
	raw, err := json.Marshal(instance)
	if err != nil {
		return "", fmt.Errorf("reserve resources: %w", err)
	}
	a, err := c.signedCall(ctx, by, http.MethodPost, crnURL, "/control/reserve_resources", "", strings.NewReader(string(raw)), "application/json")
	if err != nil {
		return "", fmt.Errorf("reserve resources: %w", err)
	}
	var reply struct {
		Status  string `json:"status"`
		Expires string `json:"expires"`
		Reason  string `json:"reason"`
	}
	if err := json.Unmarshal(a.body, &reply); err == nil && reply.Status != "reserved" && reply.Reason != "" {
		return "", fmt.Errorf("reserve resources: %s", reply.Reason)
	}
	if err := decode(http.MethodPost, a, &reply); err != nil {
		return "", fmt.Errorf("reserve resources: %w", err)
	}
	return reply.Expires, nil
}

// errLogsEnded says that a node has no more to show: the machine does not run.
var errLogsEnded = errors.New("the node sent all logs that there are")

// FollowLogs yields what a machine printed and then what it prints, as it does. The loop ends when the node has no more to
// send because the machine does not run, with the context, or with an error. Stream of a line is stdout, stderr, or system for
// what the node itself has to say.
func (c *Client) FollowLogs(ctx context.Context, by Account, crnURL string, hash message.Hash) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		err := c.streamLogs(ctx, by, crnURL, hash, func(l LogLine) bool { return yield(l, nil) })
		if err != nil && !errors.Is(err, errStopped) && !errors.Is(err, errLogsEnded) && ctx.Err() == nil {
			yield(LogLine{}, fmt.Errorf("logs of %s: %w", hash, err))
		}
	}
}

// streamLogs shows who asks in the first frame, as browsers cannot in a header (crn §2.1.2), and reads on.
func (c *Client) streamLogs(ctx context.Context, by Account, crnURL string, hash message.Hash, each func(LogLine) bool) error {
	path := machinePath(hash, "stream_logs")
	proofs, err := prove(ctx, by, http.MethodGet, crnURL, path, time.Now())
	if err != nil {
		return err
	}
	dialCtx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	target := "ws" + strings.TrimPrefix(strings.TrimRight(crnURL, "/"), "http") + path
	conn, resp, err := websocket.Dial(dialCtx, target, &websocket.DialOptions{HTTPClient: c.http})
	cancel()
	if err != nil {
		if resp != nil && resp.StatusCode >= 400 {
			return httpError(http.MethodGet, target, answer{status: resp.StatusCode})
		}
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)
	raw, err := json.Marshal(map[string]any{"auth": proofs})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, raw); err != nil {
		return err
	}

	ctx, cancel = context.WithCancel(ctx)
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		keepAlive(ctx, conn)
	}()
	defer func() { cancel(); <-pinged }()
	for {
		_, raw, err := conn.Read(ctx)
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure || websocket.CloseStatus(err) == websocket.StatusNoStatusRcvd {
			return errLogsEnded
		}
		if err != nil {
			return err
		}
		var frame struct {
			Status  string `json:"status"`
			Reason  string `json:"reason"`
			Type    string `json:"type"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(raw, &frame); err != nil {
			return fmt.Errorf("the node sent what is not a line: %w", err)
		}
		switch {
		case frame.Status == "failed":
			return &HTTPError{Method: http.MethodGet, URL: target, Status: http.StatusForbidden, Body: frame.Reason}
		case frame.Type == "":
			continue // connected
		}
		if !each(LogLine{Stream: frame.Type, Message: frame.Message}) {
			return errStopped
		}
	}
}
