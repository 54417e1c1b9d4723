package main

import (
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aleph-im/aleph-go/client"
	"github.com/aleph-im/aleph-go/client/payg"
	"github.com/aleph-im/aleph-go/params"
	"github.com/aleph-im/aleph-go/signature/ethereum"
)

// roundTrip answers requests without a network, so that time is the test's.
type roundTrip func(*http.Request) (status int, body string, err error)

// RoundTrip implements [http.RoundTripper].
func (f roundTrip) RoundTrip(request *http.Request) (*http.Response, error) {
	status, body, err := f(request)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: request}, nil
}

func TestNothingIsTakenBackWhileATransactionMayStillBeTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		chain := roundTrip(func(request *http.Request) (int, string, error) {
			var call struct{ Method string }
			if err := json.NewDecoder(request.Body).Decode(&call); err != nil {
				return 0, "", err
			}
			asked[call.Method]++
			switch call.Method {
			case "eth_call":
				return http.StatusOK, `{"result":"0x` + strings.Repeat("00", 4*32) + `"}`, nil
			case "eth_getBlockByNumber":
				return http.StatusOK, `{"result":{"baseFeePerGas":"0x1"}}`, nil
			case "eth_sendRawTransaction":
				return 0, "", errors.New("connection reset")
			case "eth_getTransactionReceipt":
				return http.StatusOK, `{"result":null}`, nil
			}
			return http.StatusOK, `{"result":"0x1"}`, nil
		})
		sender, err := ethereum.Generate()
		if err != nil {
			t.Fatal(err)
		}
		s := &streaming{sender: sender}
		if s.streams, err = payg.New(payg.Config{HTTPClient: &http.Client{Transport: chain}, Chain: params.StreamChain{
			Chain: "AVAX", ChainID: 1, RPC: "http://chain", Token: exampleAddress, Agreement: exampleAddress,
		}}); err != nil {
			t.Fatal(err)
		}
		plan := &payg.Plan{Chain: "AVAX", Sender: sender.Address(), Steps: []payg.Step{{Receiver: exampleAddress, From: new(big.Int), To: big.NewInt(5)}}}
		err = s.start(t.Context(), plan)
		if err == nil || !strings.Contains(err.Error(), "may still be taken") || strings.Contains(err.Error(), "nothing is streamed") {
			t.Error(err)
		}
		if asked["eth_sendRawTransaction"] != 1 || asked["eth_chainId"] != 1 {
			t.Errorf("the chain was asked %v", asked)
		}
	})
}

func TestComputeNodesHaveTimeToSeeAStream(t *testing.T) {
	for name, sees := range map[string]time.Duration{"late": 25 * time.Second, "never": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, asked := time.Now(), 0
				node := roundTrip(func(*http.Request) (int, string, error) {
					if asked++; time.Since(began) < sees {
						return http.StatusPaymentRequired, "402: Empty payment stream for this instance", nil
					}
					return http.StatusOK, `{"success":true}`, nil
				})
				s := &streaming{api: client.New(client.Config{BaseURL: "http://core", HTTPClient: &http.Client{Transport: node}})}
				err := s.notify(t.Context(), "http://compute", exampleInstance)
				if took := time.Since(began); sees < unpaidTime && (err != nil || took != sees) {
					t.Errorf("after %s: %v", took, err)
				} else if sees > unpaidTime && (client.KindOf(err) != client.KindInsufficientFunds || took != unpaidTime) {
					t.Errorf("given up after %s: %v", took, err)
				}
				if most := int(unpaidTime/unpaidPause) + 1; asked > most {
					t.Errorf("asked %d times, want %d at most", asked, most)
				}
			})
		})
	}
}
