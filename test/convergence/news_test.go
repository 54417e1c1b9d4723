package convergence

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// files are what the stories store.
var files = []store.FileRow{
	{Hash: hash("v0"), Size: 10, Type: store.FileTypeFile}, {Hash: hash("v1"), Size: 3 << 20, Type: store.FileTypeFile},
	{Hash: hash("v2"), Size: 4 << 20, Type: store.FileTypeFile}, {Hash: hash("large"), Size: 30 << 20, Type: store.FileTypeFile},
}

// news is one thing that a node hears of: a copy of a message, a confirmation of it, or a file.
type news struct {
	message *message.Message
	anchor  *store.Confirmation
	file    *store.FileRow
}

// news returns all that there is to hear beside the stored files, in the order in which it could have happened.
func (s *story) news() []news {
	var list []news
	all := append(slices.Clone(s.said), s.forgets...)
	for _, m := range all {
		if m.ItemType != message.ItemInline {
			list = append(list, news{file: &store.FileRow{Hash: m.ItemHash, Size: int64(len(m.text)), Type: store.FileTypeFile}})
		}
		list = append(list, news{message: m.Message})
	}
	for i := range even(s.T, 4, "anchored") {
		list = append(list, news{message: one(s.T, all, "anchor").Message, anchor: &store.Confirmation{
			TxHash: fmt.Sprint("0x", i), Chain: "ETH", Height: int64(1 + even(s.T, 3, "height")), Time: message.Time(i), Publisher: alice,
		}})
	}
	return list
}

// echo returns a copy of a message that says other things where nobody signs.
func echo(t *rapid.T, m *message.Message) *message.Message {
	other := *m
	other.Time += message.Time(even(t, 3, "another time") - 1)
	if rapid.Bool().Draw(t, "another channel") {
		channel := "another"
		other.Channel = &channel
	}
	return &other
}

// forge returns a copy of a message that nobody signed.
func forge(t *rapid.T, m *message.Message) *message.Message {
	bad := echo(t, m)
	bad.Signature = one(t, []string{"", "forged", "zz"}, "signature")
	return bad
}
