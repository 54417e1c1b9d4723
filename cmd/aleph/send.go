package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

// sent is a message that was sent, and what became of it.
type sent struct {
	ItemHash message.Hash   `json:"item_hash"`
	Type     message.Type   `json:"type"`
	Sender   string         `json:"sender"`
	Owner    string         `json:"owner"`
	Status   message.Status `json:"status"`
}

func writeSent(w io.Writer, v *sent) {
	fmt.Fprintf(w, "message\t%s\ntype\t%s\n", v.ItemHash, v.Type)
	if v.Owner != v.Sender {
		fmt.Fprintf(w, "owner\t%s\n", v.Owner)
	}
	fmt.Fprintf(w, "status\t%s\n", v.Status)
}

// submit sends a message as the user, waits as the user wants, and prints what became of it.
func (a *app) submit(ctx context.Context, content message.Content) error {
	account, err := a.signer()
	if err != nil {
		return err
	}
	v, err := a.send(ctx, a.client(), account, content, a.wait)
	if err != nil {
		return err
	}
	return print(a, v, writeSent)
}

// send sends a message and, with wait, waits until it is processed.
func (a *app) send(ctx context.Context, api *client.Client, account client.Account, content message.Content, wait bool) (*sent, error) {
	if a.owner != "" {
		content.Base().Address = a.owner
	}
	m, published, err := api.Send(ctx, account, content.Type(), content, client.SendOptions{Channel: a.channel, Sync: wait})
	if err != nil {
		return nil, err
	}
	v := &sent{ItemHash: m.ItemHash, Type: m.Type, Sender: m.Sender, Owner: content.Base().Address, Status: published.Status}
	if wait && published.Status != message.StatusProcessed {
		err = waitFor(ctx, api, m.ItemHash)
		v.Status = message.StatusProcessed
	}
	return v, err
}

// options are what the user said of messages, for those that must be processed before the next step.
func (a *app) options() client.SendOptions {
	return client.SendOptions{Channel: a.channel, Address: a.owner, Sync: true}
}

// settled waits until a message that was sent is processed.
func (a *app) settled(ctx context.Context, api *client.Client, v *client.Sent) error {
	if v.Status == message.StatusProcessed {
		return nil
	}
	return waitFor(ctx, api, v.Hash)
}

// settle sends a message that the next step needs, and waits until it is processed whatever the user wants.
func (a *app) settle(ctx context.Context, api *client.Client, account client.Account, content message.Content) (message.Hash, error) {
	v, err := a.send(ctx, api, account, content, true)
	if err != nil {
		return "", err
	}
	return v.ItemHash, nil
}

func (a *app) forget(ctx context.Context, api *client.Client, account client.Account, reason string, hashes ...message.Hash) error {
	_, err := a.settle(ctx, api, account, forgetting(reason, hashes))
	return err
}

func forgetting(reason string, hashes []message.Hash) *message.Forget {
	return &message.Forget{Hashes: hashes, Aggregates: []message.Hash{}, Reason: &reason}
}

const deletedByOwner = "deleted by its owner"

// input is a text that is given on the command line, in a file as @name, or on standard input as -.
func (a *app) input(text string) ([]byte, error) {
	const limit = 16 << 20
	var from io.Reader
	switch name, isFile := strings.CutPrefix(text, "@"); {
	case text == "-":
		if a.inIsTerminal() && !a.noInput {
			a.say("Type it, and Ctrl-D at its end")
		}
		from = a.stdin()
	case isFile:
		file, err := os.Open(name)
		if err != nil {
			return nil, usageError{err}
		}
		defer file.Close()
		from = file
	default:
		return []byte(text), nil
	}
	raw, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", text, err)
	}
	if len(raw) > limit {
		return nil, usageError{fmt.Errorf("%s has more than %d MiB", text, limit>>20)}
	}
	return raw, nil
}

// inputJSON is input that must be JSON.
func (a *app) inputJSON(text string) (json.RawMessage, error) {
	raw, err := a.input(text)
	if err != nil {
		return nil, err
	}
	raw = []byte(strings.TrimSpace(string(raw)))
	if !json.Valid(raw) {
		return nil, usageError{fmt.Errorf("'%s' is not JSON; text is written with quotes: '\"text\"'", a.cut(string(raw), 60))}
	}
	return raw, nil
}

// replaceFile puts a file in its place once it is whole, so that no half of one is ever seen.
func replaceFile(path string, mode os.FileMode, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".aleph-*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return place(file, path, mode, err)
}

// hashArgument reads a whole hash.
func hashArgument(text string) (message.Hash, error) {
	hash, err := message.ParseHash(text)
	if err != nil {
		return "", usageError{err}
	}
	return hash, nil
}

// minPrefix is how many characters of a hash must be said.
const minPrefix = 6

// hash reads a hash, or finds the one message of the account whose hash begins so.
func (a *app) hash(ctx context.Context, text string) (message.Hash, error) {
	hash, bad := hashArgument(text)
	if bad == nil {
		return hash, nil
	}
	prefix := strings.TrimRight(text, "….")
	if len(prefix) < minPrefix || strings.Trim(prefix, "0123456789abcdef") != "" {
		return "", bad
	}
	owner, err := a.address("")
	if err != nil {
		return "", bad
	}
	var found []message.Hash
	for m, err := range a.client().Messages(ctx, client.Filter{Owners: []string{owner}}) {
		if err != nil {
			return "", fmt.Errorf("look for a message that begins with %s: %w", prefix, err)
		}
		if strings.HasPrefix(string(m.ItemHash), prefix) {
			found = append(found, m.ItemHash)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", absentf("no message of %s begins with %s; those are in: aleph message list --owner %[1]s", owner, prefix)
	}
	return "", usageError{fmt.Errorf("%d messages of %s begin with %s: say more of the hash", len(found), owner, prefix)}
}

// hashes is hash for several arguments.
func (a *app) hashes(ctx context.Context, texts []string) ([]message.Hash, error) {
	list := make([]message.Hash, 0, len(texts))
	for _, text := range texts {
		hash, err := a.hash(ctx, text)
		if err != nil {
			return nil, err
		}
		list = append(list, hash)
	}
	return list, nil
}
