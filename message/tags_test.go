package message

import (
	"slices"
	"testing"
)

func TestTagsAreWhereTheTypeHasThem(t *testing.T) {
	for _, c := range []struct {
		of      Type
		content string
		want    []string
	}{
		{TypePost, `{"tags":["outer"],"content":{"tags":["b","a","b"]}}`, []string{"a", "b"}},
		{TypeAggregate, `{"content":{"tags":["a"]},"metadata":{"tags":["b"]}}`, []string{"a"}},
		{TypeStore, `{"tags":["a"],"content":{"tags":["b"]}}`, []string{"a"}},
		{TypeProgram, `{"metadata":{"tags":["a"]}}`, []string{"a"}},
		{TypeInstance, `{"metadata":{"tags":["a"]}}`, []string{"a"}},
		{TypeVProgram, `{"metadata":{"tags":["a"]}}`, []string{"a"}},
		{TypeForget, `{"tags":["a"],"content":{"tags":["a"]},"metadata":{"tags":["a"]}}`, nil},
		{TypePost, `{"content":{"tags":["a",5,null,["b"],{"c":1}]}}`, []string{"a"}},
		{TypePost, `{"content":{"tags":"a"}}`, nil},
		{TypePost, `{"content":["tags"]}`, nil},
		{TypePost, `{"content":null}`, nil},
		{TypeStore, `[]`, nil},
		{TypeStore, ``, nil},
	} {
		if got := Tags(c.of, []byte(c.content)); !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %q, want %q", c.of, c.content, got, c.want)
		}
	}
}
