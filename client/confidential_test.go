package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/message"
)

func TestAMeasurementIsReadOnceThereIsOne(t *testing.T) {
	hash := message.HashBytes(nil)
	for name, try := range map[string]struct {
		status             int
		body               string
		notLoaded, refused bool
	}{
		"not started": {http.StatusForbidden, `{"error":"Operation not running"}`, true, false},
		"not allowed": {http.StatusForbidden, `Unauthorized sender`, false, true},
		"loaded":      {http.StatusOK, `{"sev_info":{"enabled":true,"api_major":1,"api_minor":55,"build_id":21,"policy":1,"state":"launch-secret","handle":1},"launch_measure":"AAEC"}`, false, false},
	} {
		url, c := computeNode(t, map[string]http.HandlerFunc{
			"GET /control/machine/" + string(hash) + "/confidential/measurement": proven(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(try.status)
				fmt.Fprint(w, try.body)
			}),
		})
		m, err := c.MeasureConfidential(t.Context(), account(t), url, hash)
		var refused *client.HTTPError
		switch {
		case errors.Is(err, client.ErrNotLoaded) != try.notLoaded, errors.As(err, &refused) != try.refused:
			t.Errorf("%s: %v", name, err)
		case err == nil && (!bytes.Equal(m.Answer, []byte{0, 1, 2}) || m.SEV.Major != 1 || m.SEV.Minor != 55 || m.SEV.Build != 21 || m.SEV.Policy != 1):
			t.Errorf("%s: read %+v", name, m)
		}
	}
}

func TestANodeWithoutASecureProcessorHasNoCertificates(t *testing.T) {
	url, c := computeNode(t, map[string]http.HandlerFunc{"GET /about/certificates": func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"Confidential computing setting not enabled on that server"}`, http.StatusServiceUnavailable)
	}})
	var refused *client.HTTPError
	if _, err := c.Certificates(t.Context(), url); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("answered with %v", err)
	}
}
