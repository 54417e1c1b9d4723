package object

import "testing"

func TestOnlyObjectsParse(t *testing.T) {
	for _, text := range []string{"", "null", "[]", `"{}"`, "1", "{", "{} {}", `{"a":1,}`} {
		if _, err := Parse(text); err == nil {
			t.Errorf("parsed %q", text)
		}
	}
}

func TestNamesAreExactAndTheLastMemberCounts(t *testing.T) {
	o, err := Parse(`{"A":"upper","a":"first","a":"last","null":null,"number":1}`)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := o.Text("a"); err != nil || text != "last" {
		t.Errorf("%q, %v", text, err)
	}
	for _, name := range []string{"null", "number", "absent"} {
		if text, err := o.Text(name); err == nil {
			t.Errorf("%s is %q", name, text)
		}
	}
	if text, err := o.TextOr("absent", "instead"); err != nil || text != "instead" {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := o.TextOr("null", "instead"); err == nil {
		t.Errorf("null is %q", text)
	}
}
