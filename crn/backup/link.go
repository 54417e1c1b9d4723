package backup

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strconv"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// A link lets whoever has it download a backup. It is valid for as long as the backup is there.

// Link returns the parameters of a link to a backup.
func (s *Store) Link(b *Backup) url.Values {
	expires := strconv.FormatInt(b.Expires.Unix(), 10)
	return url.Values{"signature": {sign(s.cfg.Secret, b.ID, hashOf(b.ID), expires)}, "expires": {expires}}
}

// Signed reports whether this node signed a link.
func (s *Store) Signed(id string, hash message.Hash, signature, expires string) bool {
	return hmac.Equal([]byte(signature), []byte(sign(s.cfg.Secret, id, hash, expires)))
}

// Expired reports whether a link that is valid until then is no more.
func (s *Store) Expired(until time.Time) bool { return !s.cfg.Now().Before(until) }

// sign is the signature of a link: hex HMAC-SHA256.
func sign(secret, id string, hash message.Hash, expires string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(id + ":" + string(hash) + ":" + expires))
	return hex.EncodeToString(h.Sum(nil))
}
