package intake

import (
	"fmt"

	"github.com/aleph-im/aleph-go/ccn/store"
	"github.com/aleph-im/aleph-go/message"
)

// maxSigned is how many bytes the sender and the signature of a message may have together: copies of a message are told
// apart by them.
const maxSigned = 2 * store.MaxIndexed

// tooLong refuses a message that cannot be indexed, on every engine alike.
func tooLong(m *message.Message, content message.Content) *message.Error {
	if len(m.Sender)+len(m.Signature) > maxSigned {
		return message.Errorf(message.ErrInvalidFormat, "sender and signature have more than %d bytes", maxSigned)
	}
	for _, text := range indexed(content) {
		if len(text.value) > store.MaxIndexed {
			return message.Errorf(message.ErrInvalidFormat, "%s has more than %d bytes", text.name, store.MaxIndexed)
		}
	}
	return nil
}

type namedText struct{ name, value string }

// indexed lists the texts of a content that lists are searched by or rows are named by. Tags are not among them: those
// that are too long are only not searched for.
func indexed(content message.Content) []namedText {
	if content == nil {
		return nil
	}
	texts := append(make([]namedText, 0, 4), namedText{"content.address", content.Base().Address})
	add := func(name string, value *string) {
		if value != nil {
			texts = append(texts, namedText{name, *value})
		}
	}
	var executable *message.Executable
	switch c := content.(type) {
	case *message.Post:
		add("content.type", &c.PostType)
		add("content.ref", &c.Ref)
	case *message.Aggregate:
		add("content.key", &c.Key)
	case *message.Store:
		add("content.ref", &c.Ref)
	case *message.Program:
		executable = &c.Executable
	case *message.Instance:
		executable = &c.Executable
	}
	if executable != nil {
		add("content.replaces", executable.Replaces)
		for i, v := range executable.Volumes {
			add(fmt.Sprintf("content.volumes[%d].mount", i), v.Mount)
			add(fmt.Sprintf("content.volumes[%d].name", i), v.Name)
		}
	}
	return texts
}
