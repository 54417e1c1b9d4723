package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func TestABackupThatBreaksOffGoesOnWhereItWas(t *testing.T) {
	hash := message.HashBytes(nil)
	archive := bytes.Repeat([]byte("0123456789"), 10_000)
	path := "/control/machine/" + string(hash) + "/backup/b1"
	var ranges []string
	url, c := computeNode(t, map[string]http.HandlerFunc{"GET " + path: func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		if len(ranges) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(archive)))
			_, _ = w.Write(archive[:70_000])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(archive))
	}})
	b := &client.Backup{ID: "b1", Checksum: fmt.Sprintf("sha256:%x", sha256.Sum256(archive)), URL: "https://elsewhere" + path + "?signature=s&expires=1"}
	var got bytes.Buffer
	if err := c.DownloadBackup(t.Context(), url, b, &got); err != nil || !bytes.Equal(got.Bytes(), archive) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if len(ranges) != 2 || !strings.HasPrefix(ranges[1], "bytes=") || ranges[1] == "bytes=0-" {
		t.Errorf("asked for %q", ranges)
	}
	full := errors.New("no space left")
	ranges = ranges[:1]
	if err := c.DownloadBackup(t.Context(), url, b, refusing{full}); !errors.Is(err, full) || len(ranges) != 2 {
		t.Errorf("after %d requests: %v", len(ranges)-1, err)
	}
}

// trickle gives ten bytes every half minute, until its request ends.
type trickle struct {
	request context.Context
	from    io.Reader
}

func (r trickle) Read(p []byte) (int, error) {
	time.Sleep(30 * time.Second)
	if err := r.request.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p[:min(len(p), 10)])
}

func TestBytesThatAreSkippedAreNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		archive := bytes.Repeat([]byte("0123456789"), 10)
		calls := 0
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			body := io.MultiReader(bytes.NewReader(archive[:80]), iotest.ErrReader(io.ErrUnexpectedEOF))
			if calls++; calls == 2 { // it knows no ranges
				body = trickle{r.Context(), bytes.NewReader(archive)}
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
		})
		c := client.New(client.Config{BaseURL: "http://node", HTTPClient: &http.Client{Transport: transport}})
		b := &client.Backup{ID: "b1", Checksum: fmt.Sprintf("sha256:%x", sha256.Sum256(archive)), URL: "/backup"}
		var got bytes.Buffer
		if err := c.DownloadBackup(t.Context(), "http://node", b, &got); err != nil || calls != 2 || !bytes.Equal(got.Bytes(), archive) {
			t.Errorf("%d bytes in %d calls, %v", got.Len(), calls, err)
		}
	})
}

// refusing is a disk that takes nothing.
type refusing struct{ error }

func (r refusing) Write([]byte) (int, error) { return 0, r.error }

func TestAnImageToRestoreIsSentAsOneFile(t *testing.T) {
	hash := message.HashBytes(nil)
	const image = "QFI\xfb and so on"
	url, c := computeNode(t, map[string]http.HandlerFunc{"POST /control/machine/" + string(hash) + "/restore": proven(t, func(w http.ResponseWriter, r *http.Request) {
		size := r.ContentLength
		file, _, err := r.FormFile("rootfs")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		raw, err := io.ReadAll(file)
		if err != nil || string(raw) != image || size < int64(len(image)) {
			t.Errorf("got %q of a body of %d bytes, %v", raw, size, err)
		}
		fmt.Fprint(w, `{"status":"restored"}`)
	})})
	if err := c.RestoreImage(t.Context(), account(t), url, hash, strings.NewReader(image), int64(len(image))); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.RestoreImage(ctx, account(t), url, hash, strings.NewReader("QFI"), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an image that ends too early: %v", err)
	}
}
