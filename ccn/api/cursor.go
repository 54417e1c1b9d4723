package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aleph-im/aleph-go/message"
)

// A cursor is the URL-safe base64 of {"h": hash, "t": ISO time} (ccn-api §1.8).
func encodeCursor(t message.Time, h message.Hash) string {
	iso := t.Std().Format("2006-01-02T15:04:05.000000") + "+00:00"
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"h":%q,"t":%q}`, h, iso))
}

func decodeCursor(text string) (message.Time, message.Hash, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	var c struct {
		Hash message.Hash `json:"h"`
		Time time.Time    `json:"t"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return 0, "", refuse(http.StatusUnprocessableEntity, "Invalid cursor: %v", err)
	}
	return message.TimeFrom(c.Time), c.Hash, nil
}
