//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A folder is given to one core node, and every one serves it: a file of one block, and one of many.
func TestAWebsiteIsServedByEveryCoreNode(t *testing.T) {
	folder := t.TempDir()
	pages := map[string][]byte{"index.html": []byte("<h1>home</h1>\n"), "film/long.bin": bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)}
	for name, text := range pages {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, _, code := alephOf(t, network.Info().Wallets[0].KeyFile, "-o", "json", "website", "deploy", folder, "--name", "e2e-site")
	var site struct{ CID string }
	if err := json.Unmarshal([]byte(out), &site); code != 0 || err != nil || site.CID == "" {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	for _, node := range network.Core {
		for name, text := range pages {
			url := node.URL + "/ipfs/" + site.CID + "/" + name
			eventually(t, 30*time.Second, func(ctx context.Context) error {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
				if err != nil {
					return err
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(got, text) {
					return fmt.Errorf("GET %s: %s, %d bytes, %w", url, resp.Status, len(got), err)
				}
				return nil
			})
		}
	}
}
