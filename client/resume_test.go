package client_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// uploading is a node that takes uploads that resume. It answers each request with the next of its statuses; with 408 it has
// taken half of what is sent.
type uploading struct {
	statuses []int
	pause    time.Duration // until it answers the last
	asked    []string
	has      int64
}

func (n *uploading) RoundTrip(r *http.Request) (*http.Response, error) {
	n.asked = append(n.asked, r.Method)
	if len(n.statuses) == 0 {
		return nil, fmt.Errorf("%s %s is asked for nevertheless", r.Method, r.URL)
	}
	status := n.statuses[0]
	n.statuses = n.statuses[1:]
	if r.Body != nil {
		defer r.Body.Close()
		taken := r.ContentLength
		if status == http.StatusRequestTimeout {
			taken /= 2
		}
		if _, err := io.CopyN(io.Discard, r.Body, taken); err != nil {
			return nil, err
		}
		if r.Method == http.MethodPatch {
			n.has += taken
		}
	}
	if len(n.statuses) == 0 {
		select {
		case <-time.After(n.pause):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	header := http.Header{"Location": {"/api/v0/uploads/x"}, "Upload-Offset": {strconv.FormatInt(n.has, 10)}}
	answer := ""
	if r.Method == http.MethodGet { // the status of the message
		answer = `{"status":"processed"}`
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

// upload sends a file that is large enough to resume.
func (n *uploading) upload(t *testing.T) (*client.Uploaded, error) {
	c := client.New(client.Config{BaseURL: "http://node", HTTPClient: &http.Client{Transport: n}, Backoff: time.Millisecond})
	return c.UploadFile(t.Context(), account(t), bytes.NewReader(make([]byte, 8<<20)), client.UploadOptions{})
}

func TestUploadThatANodeGaveUpIsLookedForAnew(t *testing.T) {
	// The body did not come in time; then the node starts anew.
	n := &uploading{statuses: []int{201, 200, 408, 503, 201, 200, 204}}
	up, err := n.upload(t)
	if err != nil || up.Status != message.StatusPending {
		t.Errorf("%v, %v", up, err)
	}
	if want := []string{"POST", "HEAD", "PATCH", "POST", "POST", "HEAD", "PATCH"}; !slices.Equal(n.asked, want) {
		t.Errorf("asked %v", n.asked)
	}
}

func TestUploadWhoseMessageIsProcessedIsDone(t *testing.T) {
	n := &uploading{statuses: []int{201, 200, 408, 409, 200}} // it came to the node in another way meanwhile
	if up, err := n.upload(t); err != nil || up.Status != message.StatusProcessed {
		t.Errorf("asked %v: %v, %v", n.asked, up, err)
	}
}

func TestNodeMayTakeLongToStoreAnUpload(t *testing.T) {
	for pause, stored := range map[time.Duration]bool{20 * time.Minute: true, time.Hour: false} {
		synctest.Test(t, func(t *testing.T) {
			n := &uploading{statuses: []int{201, 200, 204}, pause: pause}
			if _, err := n.upload(t); (err == nil) != stored || stored && len(n.asked) != 3 {
				t.Errorf("after %v: asked %v, %v", pause, n.asked, err)
			}
		})
	}
}

func TestNodeMayTakeLongerToStoreALargerFile(t *testing.T) {
	for _, test := range []struct {
		size   int
		pause  time.Duration // of a node that has all of the file
		stored bool
	}{
		{1, 90 * time.Second, true},
		{1, 3 * time.Minute, false},
		{7 << 20, 125 * time.Second, true},
		{0, 59 * time.Second, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &uploading{statuses: []int{200}, pause: test.pause}
			c := client.New(client.Config{BaseURL: "http://node", HTTPClient: &http.Client{Transport: n}, Attempts: 1})
			up, err := c.UploadFile(t.Context(), account(t), bytes.NewReader(make([]byte, test.size)), client.UploadOptions{})
			if (err == nil) != test.stored || test.stored && up.Status != message.StatusProcessed {
				t.Errorf("%d bytes, answered after %v: %v, %v", test.size, test.pause, up, err)
			}
		})
	}
}

func TestPlainUploadThatMovesNoByteIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := roundTrip(func(r *http.Request) (*http.Response, error) {
			defer r.Body.Close()
			if _, err := io.CopyN(io.Discard, r.Body, 2<<20); err != nil { // less than the file
				return nil, err
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		c := client.New(client.Config{BaseURL: "http://node", HTTPClient: &http.Client{Transport: stuck}, Attempts: 1})
		began := time.Now()
		_, err := c.UploadFile(t.Context(), account(t), bytes.NewReader(make([]byte, 4<<20)), client.UploadOptions{})
		if err == nil || !strings.Contains(err.Error(), "no byte has moved") || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
