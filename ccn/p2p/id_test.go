package p2p

import (
	"strings"
	"testing"

	pubsub_pb "github.com/libp2p/go-libp2p-pubsub/pb"
)

func TestMessageIDVectors(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for data, want := range map[string]string{ // spec p2p.md §1.5, ccn-core.md §14
		"":                       "13646096770106105413",
		"a":                      "13743199064115861684",
		"hello":                  "9754003402134539932",
		"hello world":            "9542440807163689880",
		`{"item_hash":"abc"}`:    "15841159263145866952",
		string(all):              "17719883661552610413",
		strings.Repeat("x", 2e5): "9443038258062640953",
	} {
		author, topic := []byte("anyone"), "anything"
		if got := messageID(&pubsub_pb.Message{Data: []byte(data), From: author, Topic: &topic}); got != want {
			t.Errorf("id of %.20q (%d bytes): %s, want %s", data, len(data), got, want)
		}
	}
}

func BenchmarkMessageID(b *testing.B) {
	m := &pubsub_pb.Message{Data: make([]byte, 1000)}
	b.SetBytes(1000)
	for b.Loop() {
		messageID(m)
	}
}
