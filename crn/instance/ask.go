package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// What is asked of another node about an instance that moves.

// migrationPath is where a node answers about an instance that moves.
func migrationPath(node string, hash message.Hash) string {
	return node + "/control/machine/" + string(hash) + "/migration/"
}

// movedURL is where a node gives a file away that travels, or the hashes of its pieces.
func movedURL(node string, hash message.Hash, what, name, token string) string {
	return migrationPath(node, hash) + what + "/" + url.PathEscape(name) + "?" + url.Values{"token": {token}}.Encode()
}

const (
	stallLimit = 2 * time.Minute  // without a byte
	askLimit   = 30 * time.Second // until an answer begins
)

// ask sends a request to another node. A refusal that will not change is errCalledOff.
func (p *Pool) ask(ctx context.Context, method, target string, body io.Reader, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	response, err := p.http.Do(request)
	if err != nil {
		return nil, withoutAddress(err)
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent {
		return response, nil
	}
	defer response.Body.Close()
	return nil, refused(response)
}

// withoutAddress is why a request failed, without the address, in which there may be a token: owners read it.
func withoutAddress(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// refused is the error of an answer that is a refusal.
func refused(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	err := fmt.Errorf("the other node answers %s: %s", response.Status, bytes.TrimSpace(text))
	if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusConflict {
		err = fmt.Errorf("%w: %w", errCalledOff, err)
	}
	return err
}
