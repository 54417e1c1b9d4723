// Package s3 is a files.Store in a bucket of anything that speaks S3. A file is the object <prefix><hash>. Objects appear under
// that name only when they are complete and verified; what is not complete grows as a multipart upload, or under
// <prefix>tmp/, and is removed a day after it was left.
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/aleph-im/aleph-go/ccn/files"
	"github.com/aleph-im/aleph-go/message"
)

const (
	partSize = 5 << 20 // bytes, the least that S3 takes; an upload holds one part in memory
	// callTimeout bounds each call but the reading of a body, which must only not fall silent for as long.
	callTimeout = time.Minute
	tries       = 4              // of a read that breaks off
	leftOver    = 24 * time.Hour // after which what was not completed is garbage
	keepFresh   = 10 * time.Minute
)

// Config says where the files are. Bucket and Endpoint are required.
type Config struct {
	Endpoint  string // URL, such as https://s3.example.org
	Region    string // us-east-1 if empty
	Bucket    string // must exist
	Prefix    string // of the names of objects; "" or ending in a slash
	AccessKey string // both empty: from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
	SecretKey string
}

// Parse reads s3://bucket/prefix?endpoint=https://host&region=name. Keys are not part of it: they come from the environment.
func Parse(address string) (Config, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil {
		return Config{}, fmt.Errorf("%q is no place for files: want s3://bucket/prefix?endpoint=https://host", address)
	}
	cfg := Config{Bucket: u.Host, Endpoint: u.Query().Get("endpoint"), Region: u.Query().Get("region"), Prefix: strings.Trim(u.Path, "/")}
	if cfg.Prefix != "" {
		cfg.Prefix += "/"
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = "https://s3.amazonaws.com"
	}
	return cfg, nil
}

// Store is a files.Store in a bucket.
type Store struct {
	core   *minio.Core
	bucket string
	prefix string
}

// Open connects to the bucket and removes what was left unfinished longer ago than a day.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("%q is no S3 endpoint: want https://host:port", cfg.Endpoint)
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, err
	}
	transport.ResponseHeaderTimeout = callTimeout
	keys := credentials.NewEnvAWS()
	if cfg.AccessKey != "" {
		keys = credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: keys, Secure: u.Scheme == "https", Region: cfg.Region, Transport: transport, MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.Endpoint, err)
	}
	s := &Store{core: core, bucket: cfg.Bucket, prefix: cfg.Prefix}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ok, err := core.BucketExists(ctx, cfg.Bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s at %s: %w", cfg.Bucket, cfg.Endpoint, err)
	}
	if !ok {
		return nil, fmt.Errorf("open bucket %s at %s: there is none: create it first", cfg.Bucket, cfg.Endpoint)
	}
	if err := s.clean(ctx, time.Now().Add(-leftOver)); err != nil {
		return nil, fmt.Errorf("clean interrupted uploads in %s: %w", cfg.Bucket, err)
	}
	return s, nil
}

// clean removes what was begun before and not completed.
func (s *Store) clean(ctx context.Context, before time.Time) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + "tmp/", Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		if o.LastModified.Before(before) {
			if err := s.core.RemoveObject(ctx, s.bucket, o.Key, minio.RemoveObjectOptions{}); err != nil {
				return err
			}
		}
	}
	for o := range s.core.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		if o.Err != nil {
			return o.Err
		}
		if o.Initiated.Before(before) {
			if err := s.core.AbortMultipartUpload(ctx, s.bucket, o.Key, o.UploadID); err != nil {
				return err
			}
		}
	}
	return nil
}

// key is the name of the object; ok is false when h cannot be the name of a stored file.
func (s *Store) key(h message.Hash) (key string, ok bool) {
	return s.prefix + string(h), h.Kind() == message.ItemStorage
}

func (s *Store) Put(ctx context.Context, r io.Reader, limit int64) (message.Hash, int64, error) {
	return s.put(ctx, "", r, limit)
}

func (s *Store) PutExpecting(ctx context.Context, h message.Hash, r io.Reader, limit int64) (int64, error) {
	if _, ok := s.key(h); !ok {
		return 0, fmt.Errorf("store file %q: %w", h, files.ErrUnverifiable)
	}
	_, size, err := s.put(ctx, h, r, limit)
	if err != nil {
		return 0, fmt.Errorf("store file %s: %w", h, err)
	}
	return size, nil
}

// put stores what fits into a part at once, and the rest as a multipart upload: under its name when that is known, as an
// upload that is aborted never shows; else under another, to be copied within the bucket when its hash is known.
func (s *Store) put(ctx context.Context, want message.Hash, r io.Reader, limit int64) (message.Hash, int64, error) {
	r = files.Bounded(ctx, r, limit)
	sum := sha256.New()
	part := make([]byte, partSize)
	n, err := fill(r, part)
	if err != nil {
		return "", 0, fmt.Errorf("receive file: %w", err)
	}
	sum.Write(part[:n])
	if n < partSize {
		h, err := check(sum, want)
		if err != nil {
			return "", 0, err
		}
		key, _ := s.key(h)
		return h, int64(n), s.write(ctx, key, part[:n])
	}
	to := s.prefix + "tmp/" + rand.Text()
	if want != "" {
		to, _ = s.key(want)
	}
	h, size, err := s.upload(ctx, to, want, r, part, sum)
	if err != nil || want != "" {
		return h, size, err
	}
	return h, size, s.rename(ctx, to, h, size)
}

// write stores a small object.
func (s *Store) write(ctx context.Context, key string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.core.PutObject(ctx, s.bucket, key, bytes.NewReader(body), int64(len(body)), "", "", minio.PutObjectOptions{})
	if err != nil {
		return fmt.Errorf("write object %s: %w", key, full(err))
	}
	return nil
}

// upload sends part and what r still gives, and completes the object only when its bytes are those that are wanted.
func (s *Store) upload(ctx context.Context, key string, want message.Hash, r io.Reader, part []byte, sum hash.Hash) (_ message.Hash, size int64, err error) {
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, key, minio.PutObjectOptions{})
	if err != nil {
		return "", 0, fmt.Errorf("begin upload of %s: %w", key, full(err))
	}
	defer func() {
		if err != nil {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			// The first error is the one to tell; an upload that cannot be aborted now goes after a day.
			_ = s.core.AbortMultipartUpload(late, s.bucket, key, id)
		}
	}()
	var parts []minio.CompletePart
	for n := len(part); n > 0; {
		sent, err := s.send(ctx, key, id, len(parts)+1, part[:n])
		if err != nil {
			return "", 0, fmt.Errorf("upload part %d of %s: %w", len(parts)+1, key, full(err))
		}
		parts = append(parts, minio.CompletePart{PartNumber: sent.PartNumber, ETag: sent.ETag, ChecksumCRC32C: sent.ChecksumCRC32C})
		size += int64(n)
		if n, err = fill(r, part); err != nil {
			return "", 0, fmt.Errorf("receive file: %w", err)
		}
		sum.Write(part[:n])
	}
	h, err := check(sum, want)
	if err != nil {
		return "", 0, err
	}
	if _, err := s.core.CompleteMultipartUpload(ctx, s.bucket, key, id, parts, minio.PutObjectOptions{}); err != nil {
		return "", 0, fmt.Errorf("complete upload of %s: %w", key, full(err))
	}
	return h, size, nil
}

func (s *Store) send(ctx context.Context, key, id string, number int, part []byte) (minio.ObjectPart, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.core.PutObjectPart(ctx, s.bucket, key, id, number, bytes.NewReader(part), int64(len(part)), minio.PutObjectPartOptions{})
}

// rename gives an upload its name.
func (s *Store) rename(ctx context.Context, from string, h message.Hash, size int64) error {
	to, _ := s.key(h)
	err := s.copy(ctx, from, to, size)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	// What cannot be removed now goes after a day.
	_ = s.core.RemoveObject(late, s.bucket, from, minio.RemoveObjectOptions{})
	return err
}

// copy copies an object within the bucket, or gives it a new date when it is copied onto itself.
func (s *Store) copy(ctx context.Context, from, to string, size int64) error {
	_, err := s.core.ComposeObject(ctx, minio.CopyDestOptions{
		Bucket: s.bucket, Object: to, ReplaceMetadata: true, UserMetadata: map[string]string{"kept": time.Now().UTC().Format(time.RFC3339Nano)}, Size: size,
	}, minio.CopySrcOptions{Bucket: s.bucket, Object: from})
	if err != nil {
		return fmt.Errorf("copy object %s to %s: %w", from, to, full(err))
	}
	return nil
}

// fill reads until p is full or r ends.
func fill(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

func check(sum hash.Hash, want message.Hash) (message.Hash, error) {
	h := message.Hash(hex.EncodeToString(sum.Sum(nil)))
	if want != "" && h != want {
		return "", fmt.Errorf("%w: they hash to %s", files.ErrWrongHash, h)
	}
	return h, nil
}

// full makes a files.ErrFull of the answer of a server without room.
func full(err error) error {
	if r := minio.ToErrorResponse(err); r.StatusCode == http.StatusInsufficientStorage || r.Code == "QuotaExceeded" || r.Code == "XMinioStorageFull" {
		return fmt.Errorf("%w (%w)", files.ErrFull, err)
	}
	return err
}

func (s *Store) Stat(ctx context.Context, h message.Hash) (files.Info, error) {
	key, ok := s.key(h)
	if !ok {
		return files.Info{}, fmt.Errorf("stat %q: %w", h, files.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	o, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return files.Info{}, fmt.Errorf("stat %s: %w", h, absent(err))
	}
	return files.Info{Hash: h, Size: o.Size, Stored: o.LastModified}, nil
}

func absent(err error) error {
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return files.ErrNotFound
	}
	return err
}

// Keep gives the object a new date by copying it onto itself, unless that was done a few minutes ago.
func (s *Store) Keep(ctx context.Context, h message.Hash) (files.Info, error) {
	info, err := s.Stat(ctx, h)
	if err != nil || time.Since(info.Stored) < keepFresh {
		return info, err
	}
	key, _ := s.key(h)
	if err := s.copy(ctx, key, key, info.Size); err != nil {
		return files.Info{}, fmt.Errorf("keep %s: %w", h, absent(err))
	}
	return s.Stat(ctx, h)
}

func (s *Store) Delete(ctx context.Context, h message.Hash) error {
	key, ok := s.key(h)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}); err != nil && !errors.Is(absent(err), files.ErrNotFound) {
		return fmt.Errorf("delete %s: %w", h, err)
	}
	return nil
}

// Expire looks and then deletes; S3 has no way to do both at once. As Keep refreshes only what is some minutes old, before
// must lie longer back than that.
func (s *Store) Expire(ctx context.Context, h message.Hash, before time.Time) (bool, error) {
	info, err := s.Stat(ctx, h)
	if errors.Is(err, files.ErrNotFound) {
		return false, nil
	} else if err != nil || !info.Stored.Before(before) {
		return false, err
	}
	return true, s.Delete(ctx, h)
}

func (s *Store) Verify(ctx context.Context, h message.Hash) error {
	return files.VerifySHA256(ctx, s, h)
}

func (s *Store) Walk(ctx context.Context, f func(files.Info) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("list files: %w", o.Err)
		}
		h := message.Hash(strings.TrimPrefix(o.Key, s.prefix))
		if _, ok := s.key(h); !ok {
			continue
		}
		if err := f(files.Info{Hash: h, Size: o.Size, Stored: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}
