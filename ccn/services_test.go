package ccn

import (
	"testing"

	"github.com/aleph-im/aleph-go/ccn/intake"
	"github.com/aleph-im/aleph-go/ccn/schedule"
	"github.com/aleph-im/aleph-go/message"
)

func TestPlanIsComputedForWhatItDependsOn(t *testing.T) {
	n, _, _ := start(t, func(*Config) {})
	for _, test := range []struct {
		name    string
		content message.Content
		ended   []message.Type
		want    bool
	}{
		{"program", &message.Program{}, nil, true},
		{"instance", &message.Instance{}, nil, true},
		{"states of nodes", &message.Aggregate{Key: schedule.StatusKey}, nil, true},
		{"another aggregate", &message.Aggregate{Key: "settings"}, nil, false},
		{"post", &message.Post{}, nil, false},
		{"post that undoes a program", &message.Post{}, []message.Type{message.TypePost, message.TypeProgram}, true},
		{"FORGET of a post", &message.Forget{}, []message.Type{message.TypePost}, false},
		{"FORGET of a program", &message.Forget{}, []message.Type{message.TypeProgram}, true},
		{"FORGET of an instance", &message.Forget{}, []message.Type{message.TypeInstance}, true},
		{"FORGET of what nodes said", &message.Forget{}, []message.Type{message.TypeAggregate}, true},
	} {
		if got := n.movesPlan(&intake.Event{Content: test.content, Ended: test.ended}); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}
