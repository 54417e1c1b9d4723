package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/aleph-im/aleph-go/message"
	"github.com/aleph-im/aleph-go/signature"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// The corpus is the traffic that benchmarks of a filled store are measured with: the same messages in every run. A
// hundred messages in order are a FORGET, three amends, fourteen AGGREGATEs, five STOREs and seventy-seven POSTs.
const (
	corpusSenders  = 1000 // the k-th sends 1/k as often as the first
	corpusChannels = 50
	corpusTypes    = 20 // of posts
	corpusTags     = 100
	corpusRefs     = 2000
	corpusKeys     = 20 // of aggregates
	corpusFiles    = 100
	corpusStart    = 1_750_000_000 // Unix seconds of the first message
	corpusStep     = 20 * time.Millisecond
	corpusDistance = 1500 // messages between a post and its amend or FORGET, so that they cannot overtake it
	signedAtOnce   = 4096 // bounds what waits to be written
)

type corpus struct {
	accounts []signature.Account
	shares   []float64 // cumulated
	first    int       // messages before it are not there
}

func newCorpus() (*corpus, error) { return corpusBy("sender %d of the benchmark's corpus") }

// corpusAfter is a corpus that begins with message first and is by other senders, who have sent nothing before.
func corpusAfter(first int) (*corpus, error) {
	c, err := corpusBy("sender %d of those who come later")
	if err == nil {
		c.first = first
	}
	return c, err
}

func corpusBy(names string) (*corpus, error) {
	c := &corpus{}
	var sum float64
	for i := range corpusSenders {
		secret := sha256.Sum256(fmt.Appendf(nil, names, i))
		account, err := ethereum.NewAccount(secret[:])
		if err != nil {
			return nil, fmt.Errorf("key of sender %d: %w", i, err)
		}
		sum += 1 / float64(i+1)
		c.accounts = append(c.accounts, account)
		c.shares = append(c.shares, sum)
	}
	return c, nil
}

func corpusTime(i int) time.Time {
	return time.Unix(corpusStart, 0).Add(time.Duration(i) * corpusStep).UTC()
}

// corpusFile is the content of a file that STOREs name.
func corpusFile(i int) []byte {
	return fmt.Appendf(nil, `{"file":%d,"of":"the corpus of the benchmarks"}`, i)
}

// busy returns a function that names senders, of those who have sent messages of every kind among the first so many.
func (c *corpus) busy(messages int) func(i int) string {
	n := min(corpusSenders, max(1, messages/1000))
	return func(i int) string { return c.accounts[i*7%n].Address() }
}

// unsigned builds message i. It depends on i alone, and of other messages only plain posts are named.
func (c *corpus) unsigned(i int) (*message.Message, signature.Account, error) {
	r := rand.New(rand.NewPCG(2026, uint64(i)))
	draw := r.Float64() * c.shares[len(c.shares)-1]
	who := 0
	for c.shares[who] < draw {
		who++
	}
	channel := fmt.Sprintf("BENCH-%d", r.IntN(corpusChannels))
	var content message.Content
	var kind message.Type
	base := i - i%100 - corpusDistance
	switch slot := i % 100; {
	case slot < 4 && base >= c.first:
		target, account, err := c.unsigned(base + 50 + slot)
		if err != nil {
			return nil, nil, err
		}
		if slot == 0 {
			kind, content = message.TypeForget, &message.Forget{Hashes: []message.Hash{target.ItemHash}}
		} else {
			kind, content = message.TypePost, &message.Post{PostType: message.PostTypeAmend, Ref: string(target.ItemHash), Content: postContent(r, i)}
		}
		return build(account, kind, content, channel, i)
	case slot >= 4 && slot < 18:
		kind = message.TypeAggregate
		content = &message.Aggregate{Key: fmt.Sprintf("key-%d", r.IntN(corpusKeys)), Content: fmt.Appendf(nil, `{"member-%d":{"number":%d,"text":"a value"}}`, r.IntN(10), i)}
	case slot >= 18 && slot < 23:
		kind = message.TypeStore
		content = &message.Store{FileType: message.ItemStorage, FileHash: message.HashBytes(corpusFile(r.IntN(corpusFiles)))}
	default:
		post := &message.Post{PostType: fmt.Sprintf("type-%d", r.IntN(corpusTypes)), Content: postContent(r, i)}
		if r.IntN(5) == 0 {
			post.Ref = fmt.Sprintf("ref-%d", r.IntN(corpusRefs))
		}
		kind, content = message.TypePost, post
	}
	return build(c.accounts[who], kind, content, channel, i)
}

func postContent(r *rand.Rand, i int) []byte {
	tags := ""
	if r.IntN(3) == 0 {
		tags = fmt.Sprintf(`,"tags":["tag-%d","tag-%d"]`, r.IntN(corpusTags), r.IntN(corpusTags))
	}
	return fmt.Appendf(nil, `{"number":%d,"text":"a post of an ordinary length, as applications write them"%s}`, i, tags)
}

func build(by signature.Account, t message.Type, content message.Content, channel string, i int) (*message.Message, signature.Account, error) {
	m, _, err := message.Build(by.Address(), by.Chain(), t, content, &channel, corpusTime(i))
	return m, by, err
}

// signed returns the envelope of message i as it travels.
func (c *corpus) signed(ctx context.Context, i int) ([]byte, error) {
	m, by, err := c.unsigned(i)
	if err != nil {
		return nil, fmt.Errorf("build message %d: %w", i, err)
	}
	if m.Signature, err = by.Sign(ctx, m.SigningPayload()); err != nil {
		return nil, fmt.Errorf("sign message %d: %w", i, err)
	}
	return m.AppendJSON(nil), nil
}

// some returns the envelopes from (inclusive) to to (exclusive) in memory, signed on all cores.
func (c *corpus) some(ctx context.Context, from, to int) ([][]byte, error) {
	envelopes := make([][]byte, to-from)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for i := w; i < len(envelopes) && errs[w] == nil; i += len(errs) {
				envelopes[i], errs[w] = c.signed(ctx, from+i)
			}
		})
	}
	wg.Wait()
	return envelopes, errors.Join(errs...)
}

// file returns the path of a file with the first n envelopes, one a line, and signs them when it is not there yet.
func (c *corpus) file(ctx context.Context, root string, n int) (string, error) {
	path := filepath.Join(root, "build", "bench", fmt.Sprintf("messages-%d.jsonl", n))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for signed messages: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("create folder for signed messages: %w", err)
	}
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return "", fmt.Errorf("keep signed messages: %w", err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	for from := 0; from < n; from += signedAtOnce {
		envelopes, err := c.some(ctx, from, min(from+signedAtOnce, n))
		if err != nil {
			return "", err
		}
		for _, e := range envelopes {
			if _, err := w.Write(append(e, '\n')); err != nil {
				return "", fmt.Errorf("keep signed messages: %w", err)
			}
		}
	}
	if err := errors.Join(w.Flush(), f.Close(), os.Rename(path+".tmp", path)); err != nil {
		return "", fmt.Errorf("keep signed messages: %w", err)
	}
	return path, nil
}

func corpusFileHash(i int) string { return string(message.HashBytes(corpusFile(i))) }
